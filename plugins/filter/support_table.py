# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archives of a run as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.text_table import aligned

DOCUMENTATION = r"""
---
name: support_table
short_description: Shows which archives a run has fetched
version_added: 0.1.0
description:
  - Makes lines with a row for each host from the results of M(mcp_tunnels.stack.support).
options:
  _input:
    description: The variables of the hosts that took part, with C(__mcp_tunnel_support).
    type: list
    elements: dict
    required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Say what was fetched
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | map('extract', hostvars) | mcp_tunnels.stack.support_table }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

_HEADER = ("host", "archive", "size", "left out", "blanked", "secrets", "path or reason")
_LONGEST = 300  # characters of a reason


def support_table(hosts: Iterable[Mapping[str, Any]]) -> list[str]:
    """See the filter's documentation."""
    return aligned([_HEADER, *map(_row, hosts)])


def _row(hostvars: Mapping[str, Any]) -> tuple[str, ...]:
    host = str(hostvars["inventory_hostname"])
    found = hostvars.get("__mcp_tunnel_support")
    if not isinstance(found, Mapping) or found.get("unreachable"):
        return (
            host,
            "FAILED",
            "",
            "",
            "",
            "",
            "it could not be reached, or failed before; see above",
        )
    if found.get("failed"):
        reason = " ".join(str(found.get("msg", "")).split())
        return (host, "FAILED", "", "", "", "", reason[:_LONGEST])
    if "size" not in found:
        return (host, "would be fetched", "", "", "", "", str(found.get("path", "")))
    secrets = len(found["secrets"])
    left_out = len(found["left_out"]) - secrets
    blanked = sum(item["lines"] for item in found["blanked"])
    size = f"{found['size'] // 1024 + 1} KiB"
    counts = map(str, (left_out, blanked, secrets))
    return (host, "fetched", size, *counts, str(found["path"]))


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """See the filter's documentation."""
        return {"support_table": support_table}
