# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of a run: the collection's and the operator's own, merged and judged."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.awx import kinds

_FORM = "Write a list of maps, each with a name, as roles/awx/vars of the collection does"


@dataclass(frozen=True)
class Object:
    """One object of AWX.

    Attributes:
        kind: the name of its list, a key of :data:`kinds.MODULES`.
        item: the options of the module that makes it.
    """

    kind: str
    item: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name in AWX, or what it is known by."""
        return kinds.name_of(self.item)

    @property
    def title(self) -> str:
        """List and name, as messages show them."""
        return f"{self.kind}: {self.name}"


def merged(
    objects: Mapping[str, Any], own: Iterable[Any]
) -> tuple[list[Object], list[TunnelError]]:
    """All objects in the order in which they are made, and the problems with their form.

    An object of a later set changes the options of the one that has its name, or is added.

    :param objects: lists of objects by their names.
    :param own: more such sets, of the operator.
    """
    problems: list[TunnelError] = []
    found: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in kinds.MODULES}
    for number, given in enumerate([objects, *own]):
        source = f"mcp_tunnel_awx_files[{number - 1}]" if number else "objects"
        problems += _take(given, source, found)
    made = [Object(kind, item) for kind, items in found.items() for item in items.values()]
    return made, problems


def _take(
    given: Any, source: str, found: dict[str, dict[str, dict[str, Any]]]
) -> Iterator[TunnelError]:
    if not isinstance(given, Mapping):
        yield TunnelError(source, "is no map of lists", _FORM)
        return
    for kind, items in given.items():
        if kind not in kinds.MODULES:
            yield TunnelError(str(kind), f"of {source} is no list of objects", _instead(str(kind)))
            continue
        if not isinstance(items, (list, tuple)):
            yield TunnelError(kind, f"of {source} is no list", _FORM)
            continue
        for at, item in enumerate(items):
            name = kinds.name_of(item) if isinstance(item, Mapping) else ""
            if not isinstance(item, Mapping) or not name:
                yield TunnelError(f"{kind}[{at}]", f"of {source} is no map with a name", _FORM)
            else:
                found[kind][name] = {**found[kind].get(name, {}), **item}


def _instead(kind: str) -> str:
    near = difflib.get_close_matches(kind, kinds.MODULES, 1)
    return f"Perhaps {near[0]} is meant" if near else f"There are {', '.join(kinds.MODULES)}"


def without_secret(made: Iterable[Object]) -> Iterator[TunnelError]:
    """One problem for each credential of a type among these objects that has none of its secrets.

    A secret may come from another credential, a secret store's, through an input source.
    """
    made = list(made)
    sourced = {
        (str(other.item.get("target_credential")), str(other.item.get("input_field_name")))
        for other in made
        if other.kind == "controller_credential_input_sources"
    }
    types = {other.name: other.item for other in made if other.kind.endswith("credential_types")}
    for credential in made:
        if credential.kind != "controller_credentials":
            continue
        kind = types.get(str(credential.item.get("credential_type")), {})
        secrets = [field["id"] for field in _fields(kind) if field.get("secret")]
        inputs = credential.item.get("inputs") or {}
        has = [s for s in secrets if inputs.get(s) or (credential.name, s) in sourced]
        if secrets and not has and credential.item.get("state") != "absent":
            yield TunnelError(
                credential.title,
                f"has no {' or '.join(secrets)}, so jobs would get none",
                "Set mcp_tunnel_awx_token, or mcp_tunnel_awx_token_source to where AWX finds it; "
                "with programmatic access set mcp_tunnel_awx_mode: wif",
            )


def _fields(kind: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    fields = (kind.get("inputs") or {}).get("fields") or []
    return [field for field in fields if isinstance(field, Mapping) and "id" in field]


#: Options without which an object cannot be made, and the variable that has the value.
_NEEDED = {
    ("controller_execution_environments", "image"): "mcp_tunnel_awx_image",
    ("controller_projects", "scm_url"): "mcp_tunnel_awx_project_url",
}


def without_value(made: Iterable[Object]) -> Iterator[TunnelError]:
    """One problem for each object that lacks a value that only the operator knows."""
    for one in made:
        for (kind, option), variable in _NEEDED.items():
            manual = one.item.get("scm_type") in ("manual", "")
            if one.kind == kind and not one.item.get(option) and not manual:
                yield TunnelError(one.title, f"has no {option}", f"Set {variable}")
