#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: reboot
short_description: Reboots a host and waits until it is back
version_added: 0.1.0
description:
  - The action plugin asks the host to reboot, and then asks until it answers as a machine that was
    booted anew. C(ansible.builtin.reboot) goes by more of what a host says than this collection
    lets pass.
  - With O(state=looked), it says whether a reboot is due.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: There is nothing to show.
options:
  state:
    description: V(rebooted) reboots, V(looked) changes nothing.
    type: str
    choices: [looked, rebooted]
    default: rebooted
  needed:
    description: With O(state=looked), whether to find out if updates wait for a reboot.
    type: bool
    default: false
  instance:
    description: With O(state=looked), the instance whose drain is looked at.
    type: str
  timeout:
    description: Seconds in which the host must be back.
    type: int
    default: 600
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Reboot
  mcp_tunnels.stack.reboot:
    timeout: 300
"""

RETURN = r"""
machine:
  description: The same for all names of one machine, until it is booted again.
  returned: success
  type: str
needed:
  description: Whether updates wait for a reboot, if O(needed) asks for that.
  returned: success
  type: bool
interrupted:
  description: Whether O(instance) is drained by a reboot that was not completed.
  returned: success
  type: bool
in_service:
  description:
    - Names of all instances that were deployed on this machine, without those that are drained. A
      reboot would cut them off.
  returned: success
  type: list
  elements: str
  sample: [default]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.machine import (
    machine,
    reboot_needed,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import deployed, drain

# After the answer has left the host, and before anybody would think that nothing happens.
_DELAY = "2s"


def ensure_state(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Looks at the machine, and lets systemd reboot it soon, after this answer."""
    reboots = params["state"] == "rebooted"
    found = {
        "changed": reboots,
        "machine": machine(),
        "needed": params["needed"] and reboot_needed(),
        "interrupted": bool(params["instance"]) and _interrupted(params["instance"]),
        "in_service": deployed.in_service(),
    }
    if reboots and not check_mode:
        systemd.reboot(_DELAY)
    return found


def _interrupted(instance: str) -> bool:
    mark = drain.Mark(instance)
    found = mark.read() or mark.returning()
    return found is not None and found.purpose == "reboot"


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            state=dict(type="str", choices=["looked", "rebooted"], default="rebooted"),
            needed=dict(type="bool", default=False),
            instance=dict(type="str"),
            timeout=dict(type="int", default=600),
        ),
        supports_check_mode=True,
    )
    run(module, lambda: ensure_state(module.params, module.check_mode))


if __name__ == "__main__":
    main()
