# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory of a replica: where the credentials are, who lives on them, and who may not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision import members
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import breached

DOCUMENTATION = r"""
---
name: to_remember
short_description: Returns what a replica remembers of its tunnel
version_added: 0.1.0
description:
  - The content of C(members.json) on a replica. No inventory need show all of that.
  - A mark of its own whose machine is known stays as it is, whatever the state host says by now;
    and no replica of the inventory is marked.
positional: others, own, told, taken_out
options:
  _input:
    description: The result of M(mcp_tunnels.stack.preflight).
    type: dict
    required: true
  others:
    description: Replicas that the inventory lacks.
    type: list
    elements: str
    required: true
  own:
    description: The marks of hosts that were broken into, as the replica remembers them so far.
    type: list
    elements: dict
    required: true
  told:
    description: The marks of the state host.
    type: list
    elements: dict
    required: true
  taken_out:
    description: The hosts that this run takes out as broken into.
    type: list
    elements: str
    required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Remember it
  mcp_tunnels.stack.file_set:
    entries:
      - path: /etc/mcp-tunnel/default/members.json
        content: "{{ mcp_tunnel_plan | mcp_tunnels.stack.to_remember([], [], [], []) | to_json }}"
        mode: "0644"
"""

RETURN = r"""
_value:
  description:
    - The C(replicas) and the C(state_host). The marks are C(breached), which is not there without
      any.
  type: dict
"""


def to_remember(
    plan: Mapping[str, Any],
    others: Iterable[str],
    own: Sequence[Mapping[str, str]],
    told: Sequence[Mapping[str, str]],
    taken_out: Sequence[str],
) -> dict[str, Any]:
    """See the filter's documentation."""
    # A state host may say any number of them.
    known = list(dict.fromkeys([*plan["replicas"], *others]))[: members.MOST]
    marks = breached.to_remember(own, told, plan["replicas"], taken_out)
    found = {"replicas": sorted(known, key=str.lower), "state_host": plan["state_host"]}
    return {**found, "breached": marks} if marks else found


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """See the filter's documentation."""
        return {"to_remember": to_remember}
