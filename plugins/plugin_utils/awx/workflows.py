# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes of a workflow, in an order in which each can name the nodes after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.awx import kinds
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.awx.objects import Object

_LINKS = ("success_nodes", "failure_nodes", "always_nodes")


def split(workflow: Object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The options of the workflow itself, and those of each question to the module of nodes.

    The last nodes come first. A node that asks for an approval is asked for twice: with its links,
    the module would look for them at the approval, which has none.

    :raises TunnelError: if a node has no identifier, two have the same, one names a node that is
        not there, or nodes lead back to themselves.
    """
    options = {key: value for key, value in workflow.item.items() if key != kinds.NODES}
    nodes = workflow.item.get(kinds.NODES) or []
    place = {"workflow_job_template": workflow.name}
    if "organization" in options:
        place["organization"] = options["organization"]
    asked: list[dict[str, Any]] = []
    for node in _last_first(workflow, _by_identifier(workflow, nodes)):
        whole = {**place, **node}
        if "unified_job_template" in node and "organization" in options:
            whole.setdefault("lookup_organization", options["organization"])
        links = {key: node[key] for key in _LINKS if key in node}
        if "approval_node" in node and links:
            asked.append({key: value for key, value in whole.items() if key not in _LINKS})
            asked.append({**place, "identifier": node["identifier"], **links})
        else:
            asked.append(whole)
    return options, asked


def _by_identifier(workflow: Object, nodes: Any) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for at, node in enumerate(nodes if isinstance(nodes, (list, tuple)) else [nodes]):
        identifier = str(node.get("identifier", "")) if isinstance(node, Mapping) else ""
        if not identifier or identifier in found:
            raise TunnelError(
                workflow.title,
                f"{kinds.NODES}[{at}] is no map with an identifier of its own",
                "Give each node an identifier that no other node of the workflow has",
            )
        found[identifier] = node
    return found


def _last_first(
    workflow: Object, nodes: Mapping[str, Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The nodes, each after all that it names."""
    done: dict[str, Mapping[str, Any]] = {}
    while len(done) < len(nodes):
        ready = {
            name: node
            for name, node in nodes.items()
            if name not in done and all(link in done for link in _named(node))
        }
        if not ready:
            missing = {link for node in nodes.values() for link in _named(node)} - nodes.keys()
            left = ", ".join(sorted(missing or nodes.keys() - done.keys()))
            fault = "that are not there" if missing else "that lead back to themselves"
            raise TunnelError(
                workflow.title, f"names nodes {fault}: {left}", "Put the links of its nodes right"
            )
        done.update(ready)
    return list(done.values())


def _named(node: Mapping[str, Any]) -> list[str]:
    return [str(link) for key in _LINKS for link in node.get(key) or []]
