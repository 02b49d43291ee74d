# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets and ConfigMaps of Kubernetes, as kubectl prints them in YAML or JSON."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.pieces import CONFIG, NAMES
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.option_types import (
    load_documents,
)

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # a label of RFC 1123
_AGAIN = "Write it again, with kubectl get -o yaml"


@dataclass(frozen=True)
class Manifest:
    """A Secret or ConfigMap with parts of a deployment.

    Attributes:
        where: the file and the object, for messages.
        namespace: its namespace; empty if it names none.
        data: content by key, decoded.
    """

    where: str
    namespace: str
    data: dict[str, str] = field(repr=False)


def items(text: str, where: str) -> list[Mapping[str, Any]]:
    """The Secrets and ConfigMaps of a file.

    :param where: the name of the file.
    :raises TunnelError: if it is no YAML (JSON is), or has a list that is none.
    """
    found: list[Any] = []
    for document in documents(text, where):
        is_list = isinstance(document, Mapping) and document.get("kind") == "List"
        found += _items(document, where) if is_list else [document]
    return [
        item
        for item in found
        if isinstance(item, Mapping) and item.get("kind") in ("Secret", "ConfigMap")
    ]


def documents(text: str, where: str) -> list[Any]:
    """The documents of a file.

    :raises TunnelError: if it is no plain YAML.
    """
    try:
        return load_documents(text)
    except yaml.MarkedYAMLError as error:
        line = f", see its line {error.problem_mark.line + 1}" if error.problem_mark else ""
        # Only of our own and of tags: others quote the text, which may be a secret.
        said = error.problem or ""
        known = said.startswith(("has a", "could not determine a constructor for the tag"))
        problem = f"cannot be taken as plain YAML{line}" + (f": {said}" if known else "")
    except yaml.YAMLError:
        problem = "cannot be taken as plain YAML"
    except ValueError:
        problem = "has a date or a number that cannot be"
    except RecursionError:
        problem = "is nested too deeply"
    raise TunnelError(where, problem, "Write it without tags, aliases (*) and repeated names")


def _items(document: Mapping[str, Any], where: str) -> list[Any]:
    items = document.get("items")
    if not isinstance(items, list):
        raise TunnelError(where, "has a List without items", _AGAIN)
    return items


def read(item: Mapping[str, Any], file: str) -> Manifest:
    """What a Secret or ConfigMap has of a deployment.

    :raises TunnelError: if the object is broken.
    """
    about = item.get("metadata")
    about = about if isinstance(about, Mapping) else {}
    name, namespace = (_checked(about.get(key), f"{file}: {key}") for key in ("name", "namespace"))
    where = f"{file}, {item['kind']} {name or 'without a name'}"
    known = NAMES if item["kind"] == "Secret" else (CONFIG,)
    plain = _map(item, "data" if item["kind"] == "ConfigMap" else "stringData", where)
    data = {key: _text(plain[key], f"{where}: {key}") for key in known if key in plain}
    if item["kind"] == "Secret":
        encoded = _map(item, "data", where)
        data = {
            **{key: _decoded(encoded[key], f"{where}: {key}") for key in known if key in encoded},
            # As Kubernetes merges them.
            **data,
        }
    return Manifest(where, namespace, data)


def _checked(name: Any, where: str) -> str:
    """A name that a command line can be told with."""
    if name is None:
        return ""
    if not isinstance(name, str) or not all(map(_NAME.fullmatch, name.split("."))):
        raise TunnelError(where, "is no name of Kubernetes", _AGAIN)
    return name


def _map(item: Mapping[str, Any], field_name: str, where: str) -> Mapping[str, Any]:
    value = item.get(field_name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TunnelError(f"{where}: {field_name}", "is no map", _AGAIN)
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise TunnelError(where, "is no text", _AGAIN)
    return value


def _decoded(value: Any, where: str) -> str:
    try:
        return base64.b64decode("".join(_text(value, where).split()), validate=True).decode()
    except (binascii.Error, ValueError):
        # "from None": the cause quotes its input.
        raise TunnelError(where, "is no text in base64", _AGAIN) from None
