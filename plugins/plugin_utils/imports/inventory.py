# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory that a deployment becomes: its files, and how they differ from those there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports import proxy_fields
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.judge import SECRETS
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.vaults import Vault
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.option_types import (
    load_documents,
)

SUBJECT = "mcp_tunnel_import_dest"
HOSTS = "hosts.yml"
VARIABLES = "group_vars/mcp_tunnel/imported.yml"
VAULT = "group_vars/mcp_tunnel/vault.yml"
_PREFIX = "vault_"
EMPTY_HOSTS = """\
# The hosts that become replicas beside the imported deployment. Import writes this file only once.
---
mcp_tunnel:
  hosts:
    # replica1.example.net:
    # replica2.example.net:
"""
HEADER = """\
# Written by mcp_tunnels.stack.import. Your own variables belong into another file beside this one.
---
"""
_WIDTH = 4096


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such, so that certificates can be read."""


def _written(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _written)


@dataclass(frozen=True)
class File:
    """A file of the inventory that is missing, or has another content.

    Attributes:
        path: where it belongs.
        before: the content that is there, for a diff; ``None`` if there is no file.
        after: the content that it will have, for a diff.
        content: the content as it is written.
    """

    path: Path
    before: str | None
    after: str
    content: str = field(repr=False)

    def diff(self) -> dict[str, str]:
        """For Ansible's ``--diff``, without secrets."""
        header = str(self.path)
        return {
            "before": self.before or "",
            "after": self.after,
            "before_header": header,
            "after_header": header,
        }

    def not_overwritten(self) -> TunnelError:
        """The error for a file that is there and differs."""
        return TunnelError(
            str(self.path),
            "is there already, and differs from what would be written; --check --diff together "
            "with mcp_tunnel_import_replace=true shows how",
            "Move it away, set mcp_tunnel_import_replace: true to replace it, or import into "
            "another directory",
        )


def changes(root: Path, variables: Mapping[str, Any], vault: Vault) -> list[File]:
    """The files that have to be written, those for Ansible to read first at last.

    :raises TunnelError: if something else is in a file's place, or cannot be opened.
    """
    secrets = {_PREFIX + name: variables[name] for name in SECRETS}
    references = {name: f"{{{{ {_PREFIX}{name} }}}}" for name in SECRETS}
    found = (
        _secret(root / VAULT, secrets, vault),
        _public(root / VARIABLES, {**variables, **references}),
        _hosts(root / HOSTS),
    )
    return [each for each in found if each]


def _dumped(variables: Mapping[str, Any]) -> str:
    return yaml.dump(dict(variables), Dumper=_Dumper, width=_WIDTH, allow_unicode=True)


def _hosts(path: Path) -> File | None:
    return File(path, None, EMPTY_HOSTS, EMPTY_HOSTS) if _read(path) is None else None


def _public(path: Path, variables: Mapping[str, Any]) -> File | None:
    content = HEADER + _dumped(variables)
    before = _read(path)
    if before == content:
        return None
    return File(path, None if before is None else _shown(before, variables), content, content)


def _shown(before: str, variables: Mapping[str, Any]) -> str:
    """The earlier content, for a diff. An operator may have added a secret to it."""
    there = _loaded(before)
    if there is None:
        return "(no plain map of variables)\n"
    named = {*variables, *proxy_fields.VARIABLES.values()} - set(SECRETS)
    lines = {
        name: value if name in named or value == variables.get(name) else "(not shown)"
        for name, value in there.items()
    }
    return HEADER + _dumped(lines)


def _loaded(text: str) -> Mapping[str, Any] | None:
    """The variables of a file; ``None`` if it has anything but a map of plain data."""
    try:
        (document,) = load_documents(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return document if isinstance(document, Mapping) and all(map(_is_name, document)) else None


def _is_name(name: object) -> bool:
    return isinstance(name, str)


def _secret(path: Path, secrets: Mapping[str, str], vault: Vault) -> File | None:
    """The file with the secrets. Encrypted anew, it would be another one each time.

    :raises TunnelError: if there is one with anything else, which must not be lost.
    """
    content = HEADER + _dumped(secrets)
    before = _read(path)
    if before is not None:
        opened = vault.decrypt(before)
        if opened == content:
            return None
        _check_replaceable(path, opened, secrets)
    told = None if before is None else "(another content)\n"
    return File(path, told, "".join(_hidden(secrets)), vault.encrypt(content))


def _check_replaceable(path: Path, opened: str | None, secrets: Mapping[str, str]) -> None:
    there = None if opened is None else _loaded(opened)
    if there is None:
        raise TunnelError(
            str(path),
            "cannot be opened with a vault password of this run, or is no plain map of variables, "
            "so it may have more than import has written",
            "Give the password with which it was encrypted, or move it away",
        )
    if others := sorted(set(there) - set(secrets)):
        raise TunnelError(
            str(path),
            f"has other variables, too: {shown(', '.join(others))}",
            "Move them into another file beside it",
        )


def _hidden(secrets: Mapping[str, str]) -> Iterator[str]:
    for name in secrets:
        yield f"{name}: (encrypted)\n"


def _read(path: Path) -> str | None:
    try:
        content = secret_files.read_file(str(path))
    except OSError as error:
        raise TunnelError(
            str(path), f"cannot be read: {error.strerror}", "Move it away, or make it yours"
        ) from None
    return None if content is None else content.decode("utf-8", "replace")


def write(root: Path, files: list[File]) -> None:
    """Writes the files, each at once: a reader sees the old one or the new one.

    :raises TunnelError: if one cannot be written; the next run completes the others.
    """
    try:
        for file in files:
            for directory in (root, *reversed(file.path.relative_to(root).parents[:-1])):
                (root / directory).mkdir(0o700, exist_ok=True)
            attributes = secret_files.private_attributes()
            secret_files.write_file(str(file.path), file.content.encode(), attributes)
    except OSError as error:
        raise TunnelError(
            str(error.filename or SUBJECT),
            f"cannot be written: {error.strerror or error}",
            "Make room, or give this user the right to write there, and run it again",
        ) from None
