# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option that says where the credentials of a tunnel come from."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  provisioning:
    description:
      - Where the credentials of the tunnel come from.
      - With V(manual) the operator copies them from and to the Console.
      - With V(wif) they come from and go to the Tunnels API, by Workload Identity Federation. The
        state directory must belong to a tunnel then; see M(mcp_tunnels.stack.tunnel).
      - With V(wif), O(federation_rule_id), O(organization_id) and O(identity_source) are required.
    type: str
    choices: [manual, wif]
    default: manual
"""
