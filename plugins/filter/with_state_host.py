# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a host, once the replicas have said which state host they remember."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import state_hosts

DOCUMENTATION = r"""
---
name: with_state_host
short_description: Completes a plan with the state host that the replicas remember
version_added: 0.1.0
description:
  - Without C(mcp_tunnel_state_host), the state host is the one that the replicas remember. This
    filter puts it into the plan. It refuses one that the inventory does not show, and replicas
    that do not agree. Where none remembers any, it stays as it is.
  - The first of these replicas leads the others, unless the one that did so is among them.
positional: remembered, forget, explicit, breached
options:
  _input:
    description: The result of M(mcp_tunnels.stack.preflight).
    type: dict
    required: true
  remembered:
    description:
      - The replicas of the instance that take part, each with the files that
        M(mcp_tunnels.stack.public_files) has read there, C(members.json) among them if it exists.
    type: dict
    required: true
  forget:
    description: Hosts that are gone for good.
    type: list
    elements: str
    default: []
  explicit:
    description: The variable C(mcp_tunnel_state_host), if it counts.
    type: str
    default: ""
  breached:
    description:
      - Hosts of the instance that were broken into. Where the state host is one of them,
        O(explicit) has to name another one.
    type: list
    elements: str
    default: []
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Go by what the replicas remember
  ansible.builtin.set_fact:
    mcp_tunnel_plan: "{{ mcp_tunnel_plan | mcp_tunnels.stack.with_state_host(remembered) }}"
"""

RETURN = r"""
_value:
  description:
    - The plan, with C(state_host) and C(leader). C(former) is another state host that the replicas
      remember, and empty if there is none.
  type: dict
"""


def with_state_host(
    plan: Mapping[str, Any],
    remembered: Mapping[str, Mapping[str, str]],
    forget: Sequence[str] = (),
    explicit: str = "",
    breached: Sequence[str] = (),
) -> dict[str, Any]:
    """See the filter's documentation."""
    claims = {
        host: _state_host(plan, host, files["members.json"])
        for host, files in remembered.items()
        if files.get("members.json")
    }
    led = {**plan, "leader": _leader(plan, remembered), "former": ""}
    known = [name for name in claims.values() if name]
    try:
        if breached and not explicit:
            state_hosts.check_successor(plan["replicas"], known, breached)
        if not known:
            return led
        choice = state_hosts.choose(explicit, plan["replicas"], claims, [*forget, *breached])
    except TunnelError as error:
        raise AnsibleFilterError(str(error)) from None
    return {**led, "state_host": choice.name, "former": choice.former}


def _leader(plan: Mapping[str, Any], here: Collection[str]) -> str:
    """The replica that stands for the others: one that cannot be reached does nothing for them."""
    present = [name for name in plan["replicas"] if name in here]
    return str(plan["leader"] if plan["leader"] in present or not present else present[0])


def _state_host(plan: Mapping[str, Any], host: str, text: str) -> str:
    """The state host in the file of a replica."""
    try:
        name = json.loads(text)["state_host"]
    except (ValueError, KeyError, TypeError, RecursionError):
        name = None
    if not isinstance(name, str):
        raise AnsibleFilterError(
            f"{plan['config_dir']}/members.json on {host}: cannot be read. Set "
            "mcp_tunnel_state_host, make sure that the inventory has every replica, and remove "
            "that file; the next run of site.yml writes it anew."
        )
    return name


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """See the filter's documentation."""
        return {"with_state_host": with_state_host}
