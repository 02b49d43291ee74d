#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: settings
short_description: Takes the variables of a host as the operator has set them
version_added: 0.1.0
description:
  - Evaluates all variables of this collection on the controller, without a connection to the host,
    and returns them with their defaults.
  - Register the result as C(__mcp_tunnel_settings), with C(no_log=true), directly before
    M(mcp_tunnels.stack.preflight), which checks it. The roles of this collection take their
    variables from there. Registered variables outrank facts, so nothing that a host says later
    changes one of them.
  - Never fails. M(mcp_tunnels.stack.preflight), whose output is shown, reports missing values.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Take the variables of every host
  mcp_tunnels.stack.settings:
  register: __mcp_tunnel_settings
  no_log: true
"""

RETURN = r"""
variables:
  description:
    - All public variables of the collection with their values. Secrets are among them.
    - The defaults alone, if the facts of the host set one of them.
  returned: always
  type: dict
undefined:
  description: Variables that could not be evaluated, with the reason.
  returned: always
  type: dict
  sample: {mcp_tunnel_token: "'vault_token' is undefined"}
"""
