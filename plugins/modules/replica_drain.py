#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: replica_drain
short_description: Takes a replica away from the tunnel edge, and brings it back
version_added: 0.1.0
description:
  - A drained replica serves no requests. Its cloudflared has left the edge; requests and streams
    that were open had its grace period to end.
  - It stays away until O(state=undrained). A file, C(/etc/mcp-tunnel/INSTANCE/drained), is a
    condition of the unit, so deployments, renewals and reboots do not start it.
  - Once it is back, the file is kept as C(/etc/mcp-tunnel/INSTANCE/returning), until
    M(mcp_tunnels.stack.replica) remembers the replica as good.
  - Whether other replicas are left is for the caller to know.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: RV(actions) names what was done.
options:
  instance:
    description: Name of the instance.
    type: str
    required: true
  state:
    description:
      - V(drained) marks the replica and stops its cloudflared. A replica that is drained already
        keeps the mark that it has.
      - V(undrained) removes the mark and starts cloudflared. It does not wait for connections. A
        replica that was not drained stays as it is, also if it does not run. One that has not
        proven itself since its drain was ended is started if it does not run.
      - V(restored) puts back the mark that V(undrained) has removed, unless the replica was
        remembered as good since, and stops cloudflared.
    type: str
    choices: [drained, undrained, restored]
    default: drained
  purpose:
    description:
      - Who drains the replica, an operator (V(drain)) or a reboot. A reboot does not end the drain
        of an operator.
      - With O(state=undrained), only a drain of this purpose is ended; without it, any is.
    type: str
    choices: [drain, reboot]
  by:
    description: Who has asked for it. The action plugin names the run.
    type: str
    default: ""
  why:
    description: The reason, a line for people.
    type: str
    default: ""
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Take the replica away from the edge
  mcp_tunnels.stack.replica_drain:
    instance: default
    why: new memory

- name: Bring it back
  mcp_tunnels.stack.replica_drain:
    instance: default
    state: undrained
"""

RETURN = r"""
actions:
  description: The actions that were taken, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ["mcp-cloudflared@default.service stopped"]
ended:
  description:
    - Whether a drain was ended, or would be in check mode. Also that of an earlier call, until the
      replica is remembered as good.
  returned: success
  type: bool
drained:
  description: The drain, empty for a replica that is in service afterwards.
  returned: success
  type: dict
  contains:
    since:
      description: When it began, in UTC.
      type: str
    by:
      description: Who has asked for it.
      type: str
    why:
      description: The reason that was given.
      type: str
    purpose:
      description: V(drain) or V(reboot).
      type: str
  sample:
    since: "2026-11-29T04:50:00Z"
    by: root on controller
    why: new memory
    purpose: drain
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import check_line
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import drain


def ensure_state(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Drains the replica, or brings it back, and returns the result."""
    mark = drain.Mark(params["instance"])
    if params["state"] == "undrained":
        return drain.undrain(mark, check_mode, params["purpose"] or "")
    if params["state"] == "restored":
        return drain.restore(mark, check_mode)
    texts = {name: check_line(params[name], name) for name in ("by", "why") if params[name]}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    wanted = drain.Drain(now, purpose=params["purpose"] or drain.PURPOSES[0], **texts)
    return drain.drain(mark, wanted, check_mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            instance=dict(type="str", required=True),
            state=dict(type="str", choices=["drained", "undrained", "restored"], default="drained"),
            purpose=dict(type="str", choices=["drain", "reboot"]),
            by=dict(type="str", default=""),
            why=dict(type="str", default=""),
        ),
        supports_check_mode=True,
    )
    run(module, lambda: ensure_state(module.params, module.check_mode))


if __name__ == "__main__":
    main()
