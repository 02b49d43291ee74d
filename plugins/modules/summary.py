#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: summary
short_description: Sums up a run over all tunnels
version_added: 0.1.0
description:
  - Says which tunnels are done, which stopped and why, which of their replicas were not touched,
    and which hosts were left out.
  - Gives the run a report for programs, the custom statistic C(mcp_tunnel_report), as
    C(set_stats) would. AWX and Tower keep it as an artifact of the job.
  - Reads the results that the plays before have registered for the hosts of this play.
  - Runs on the controller, without a connection. Use C(run_once).
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  ended:
    description: Whether a tunnel without a failure is done. Otherwise more is still to come for it.
    type: bool
    default: true
  shown:
    description: Whether the summary is shown, too.
    type: bool
    default: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Sum up
  mcp_tunnels.stack.summary:
  run_once: true
"""

RETURN = r"""
msg:
  description: The summary, line by line.
  returned: when O(shown=true)
  type: list
  elements: str
  sample:
    - 1 of 2 tunnels is done.
    - "  default, abcd1234.tunnel.anthropic.com: done (replica1, replica2)"
    - "  second: stopped before anything was changed: replica3 could not be reached, and replica3 is
      the state host."
"""
