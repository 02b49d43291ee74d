# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of awx.awx that are installed here, and the options that they document."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.loader import fragment_loader, module_loader
from ansible.utils.plugin_docs import get_docstring
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

_KEPT = ("type", "elements", "choices", "required", "aliases")


@functools.cache
def options(module: str) -> dict[str, dict[str, Any]]:
    """The documented options of a module, by its whole name, such as ``awx.awx.project``.

    :raises TunnelError: if it is not installed.
    """
    context = module_loader.find_plugin_with_context(module)
    collection = module.rpartition(".")[0]
    if not context.resolved:
        raise TunnelError(
            collection,
            f"is not installed on this controller: there is no module {module}",
            f"Run 'ansible-galaxy collection install {collection}'. For Ansible Automation "
            "Platform, set mcp_tunnel_awx_collection: ansible.controller, which comes with it",
        )
    documentation = get_docstring(
        context.plugin_resolved_path,
        fragment_loader,
        collection_name=collection,
        plugin_type="module",
    )[0]
    found: dict[str, dict[str, Any]] = documentation["options"]
    return found


def problems(module: str, title: str, item: Mapping[str, Any]) -> Iterator[TunnelError]:
    """The options of an object that the module does not know, lacks, or would refuse.

    Values are not shown: they may be secrets.
    """
    known = options(module)
    names = {name: name for name in known}
    names |= {alias: name for name, option in known.items() for alias in option.get("aliases", ())}
    for key in item:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1)
            meant = f"Perhaps {near[0]} is meant" if near else "Take it out"
            yield TunnelError(title, f"{module} has no option {key}", meant)
        elif _refused(key, item[key], known[names[key]]):
            wanted = _wanted(known[names[key]])
            yield TunnelError(title, f"{key} is not {wanted}", f"See 'ansible-doc {module}'")
    given = {names[key] for key in item if key in names}
    for name, option in known.items():
        if option.get("required") and name not in given:
            yield TunnelError(title, f"has no {name}", f"See 'ansible-doc {module}'")


def _refused(key: str, value: Any, option: Mapping[str, Any]) -> bool:
    spec = {part: option[part] for part in _KEPT if part in option and part != "aliases"}
    return bool(ArgumentSpecValidator({key: spec}).validate({key: value}).error_messages)


def _wanted(option: Mapping[str, Any]) -> str:
    if option.get("choices"):
        return "one of " + ", ".join(map(str, option["choices"]))
    inner = f" of {option['elements']}" if "elements" in option else ""
    return f"of the type {option.get('type', 'str')}{inner}"


def unknown_connection(collection: str, connection: Mapping[str, Any]) -> Iterator[TunnelError]:
    """The entries of the connection that are no options of all modules."""
    shared = options(f"{collection}.organization").keys() & options(f"{collection}.label").keys()
    own = {"name", "new_name", "organization", "state"}
    known = {
        alias
        for name in shared - own
        for alias in [name, *options(f"{collection}.label")[name].get("aliases", ())]
    }
    for key in connection:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            meant = (
                f"Perhaps {near[0]} is meant" if near else f"There are {', '.join(sorted(known))}"
            )
            yield TunnelError(f"mcp_tunnel_awx_connection['{key}']", "is no option", meant)
