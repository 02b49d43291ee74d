"""The configuration file that cloudflared looks for by itself, and the settings it takes from it.

Vendor behaviour: five directories, those of the user's home first; the first file that can be
opened is the one. Its `ingress` rules win over `--url`; every flag that is neither on the command
line nor in the environment is taken from it, `token` among them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

_HOME_DIRECTORIES = ("~/.cloudflared", "~/.cloudflare-warp", "~/cloudflare-warp")
_SYSTEM_DIRECTORIES = ("/etc/cloudflared", "/usr/local/etc/cloudflared")
_NAMES = ("config.yml", "config.yaml")


class Unreadable(Exception):
    """A file that is there and cannot be used."""


@dataclass(frozen=True)
class Configuration:
    """A file's contents, empty without a file. `rules` are its ingress rules, unchecked."""

    path: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Mapping[str, Any], ...] = ()


def find() -> str:
    """The first configuration file in the vendor's order that can be opened, "" without one."""
    for directory in (*map(os.path.expanduser, _HOME_DIRECTORIES), *_SYSTEM_DIRECTORIES):
        for name in _NAMES:
            path = os.path.join(directory, name)
            # Measured: a file without read permission is passed over like a missing one.
            if os.path.isfile(path) and os.access(path, os.R_OK):
                return path
    return ""


def read(path: str) -> Configuration:
    """Return the contents of the file at `path`, empty ones for "". Raises Unreadable."""
    if not path:
        return Configuration()
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Unreadable(f"error parsing YAML in config file at {path}: {error}") from error
    if content is None:
        return Configuration(path)
    if not isinstance(content, dict):
        raise Unreadable(f"error parsing YAML in config file at {path}: cannot unmarshal")
    rules = content.get("ingress") or []
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise Unreadable(f"error parsing YAML in config file at {path}: ingress is not a list")
    flags = {name: _text(value) for name, value in content.items() if _is_plain(value)}
    return Configuration(path, flags, tuple(rules))


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float, bool))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
