# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether replicas remember that a host was broken into, which is to become the state host."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import breached

DOCUMENTATION = r"""
---
name: broken_into
short_description: Says whether replicas remember that a host was broken into
version_added: 0.1.0
description:
  - Such a host is remembered by its name, and by its machine, which may have another name in the
    inventory now. A replica besides the marked host is another machine, also if it is a clone.
positional: remembered, machine
options:
  _input:
    description: Name of the host.
    type: str
    required: true
  remembered:
    description:
      - The replicas of the instance, each with the files that M(mcp_tunnels.stack.public_files) has
        read there, C(members.json) among them if it exists.
    type: dict
    required: true
  machine:
    description: The host's fact C(identity) of M(mcp_tunnels.stack.host_check), empty if not known.
    type: str
    default: ""
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Refuse a state host that was broken into
  ansible.builtin.fail:
    msg: "{{ found }}"
  vars:
    found: "{{ 'replica2' | mcp_tunnels.stack.broken_into(remembered, host.facts.identity) }}"
  when: found | length > 0
"""

RETURN = r"""
_value:
  description: Who it was, when it was marked, and who remembers that; empty if nobody does.
  type: str
"""


def broken_into(name: str, remembered: Mapping[str, Mapping[str, str]], machine: str = "") -> str:
    """See the filter's documentation."""
    texts = {host: files.get("members.json", "") for host, files in remembered.items()}
    memories = {host: _memory(host, text) for host, text in texts.items() if text}
    try:
        return breached.remembered_as(name, machine, memories)
    except (KeyError, TypeError, AttributeError):
        raise AnsibleFilterError(_UNREADABLE.format(host=", ".join(memories))) from None


_UNREADABLE = (
    "members.json on {host}: cannot be read. Make sure that the inventory has every replica, and "
    "remove that file; the next run of site.yml writes it anew."
)


def _memory(host: str, text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise AnsibleFilterError(_UNREADABLE.format(host=host))
    return found


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """See the filter's documentation."""
        return {"broken_into": broken_into}
