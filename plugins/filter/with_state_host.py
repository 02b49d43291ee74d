# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a host, once a replica has said which state host it remembers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import state_hosts

DOCUMENTATION = r"""
---
name: with_state_host
short_description: Completes a plan with the state host that a replica remembers
version_added: 0.1.0
description:
  - Without C(mcp_tunnel_state_host), the state host is the one that the replicas remember. This
    filter puts it into the plan, and refuses one that the inventory does not show.
positional: remembered
options:
  _input:
    description: The result of M(mcp_tunnels.stack.preflight).
    type: dict
    required: true
  remembered:
    description: Content of the replica's C(members.json).
    type: str
    required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Go by what a replica remembers
  ansible.builtin.set_fact:
    mcp_tunnel_plan: "{{ mcp_tunnel_plan | mcp_tunnels.stack.with_state_host(remembered) }}"
"""

RETURN = r"""
_value:
  description: The plan, with C(state_host).
  type: dict
"""


def with_state_host(plan: Mapping[str, Any], remembered: str) -> dict[str, Any]:
    """See the filter's documentation."""
    try:
        name = json.loads(remembered)["state_host"]
    except (ValueError, KeyError, TypeError, RecursionError):
        name = None
    if not isinstance(name, str):
        raise AnsibleFilterError(
            f"{plan['config_dir']}/members.json on {plan['leader']}: cannot be read. Run site.yml, "
            "or set mcp_tunnel_state_host."
        )
    try:
        choice = state_hosts.choose("", plan["replicas"], {plan["leader"]: name})
    except TunnelError as error:
        raise AnsibleFilterError(str(error)) from None
    return {**plan, "state_host": choice.name}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """See the filter's documentation."""
        return {"with_state_host": with_state_host}
