#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: firewall
short_description: Loads the nftables rules of a replica, keeps them loaded, and takes them back
version_added: 0.1.0
description:
  - Keeps the table C(inet mcp_tunnel) of a host. Nothing else of the ruleset is touched.
  - All rules are loaded in one transaction, after nft and the kernel have accepted them, so there
    is no moment without rules. Counters go on from where they were.
  - The kernel is compared with the loaded rules, so a rule that somebody removed comes back.
  - Rules are kept in C(/etc/nftables.d), from where C(mcp-tunnel-firewall.service) loads them at
    boot; what is remembered of them is in C(/var/lib/mcp-tunnel-firewall), for root only.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
options:
  instance:
    description: Name of the instance.
    type: str
    required: true
  state:
    description:
      - V(loaded) makes the kernel and the disk have the given rules.
      - V(confirmed) keeps rules that are on trial, see O(rollback_timeout). Fails when they have
        been taken back.
      - V(good) remembers the rules on disk as good. The replica was proven with them.
      - V(restored) puts back the rules that were last good.
      - V(absent) removes the instance's rules, and with those of the host's last instance the
        table, the files, the unit and what is remembered.
    type: str
    choices: [loaded, confirmed, good, restored, absent]
    default: loaded
  host_rules:
    description: The rules of the host, in nft's language. Required with O(state=loaded).
    type: str
  instance_rules:
    description: Those of the instance, added to the chains of O(host_rules). Required with
      O(state=loaded).
    type: str
  units:
    description:
      - Texts of the unit files that load the rules at boot and copy their counters, by their names
        below C(/etc/systemd/system). They are written and enabled before the rules are loaded.
        Required with O(state=loaded).
      - "The names are V(mcp-tunnel-firewall.service), V(mcp-tunnel-firewall-counters.service),
        V(mcp-tunnel-firewall-counters.timer), V(mcp-tunnel-connections.service) and
        V(nftables.service.d/mcp-tunnel.conf); and V(mcp-tunnel-counters.py),
        V(mcp-tunnel-connections.py) and V(mcp-tunnel-restore.sh), the programs that three of them
        run, which are kept beside the rules of instances."
    type: dict
  rollback_timeout:
    description:
      - Seconds that new rules stay on trial. They are not written to disk, and the host takes them
        back when the time is over, unless O(state=confirmed) comes, over a new connection, before.
      - V(0) keeps them at once.
    type: int
    default: 0
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Load the rules
  mcp_tunnels.stack.firewall:
    instance: default
    host_rules: "{{ lookup('ansible.builtin.template', 'host.nft.j2') }}"
    instance_rules: "{{ lookup('ansible.builtin.template', 'instance.nft.j2') }}"
    units:
      mcp-tunnel-firewall.service: "{{ lookup('ansible.builtin.file', 'loader.service') }}"
      mcp-tunnel-firewall-counters.service: "{{ lookup('ansible.builtin.file', 'copy.service') }}"
      mcp-tunnel-firewall-counters.timer: "{{ lookup('ansible.builtin.file', 'copy.timer') }}"
      mcp-tunnel-connections.service: "{{ lookup('ansible.builtin.file', 'ask.service') }}"
      nftables.service.d/mcp-tunnel.conf: "{{ lookup('ansible.builtin.file', 'nftables.conf') }}"
      mcp-tunnel-counters.py: "{{ lookup('ansible.builtin.file', 'copy.py') }}"
      mcp-tunnel-connections.py: "{{ lookup('ansible.builtin.file', 'ask.py') }}"
      mcp-tunnel-restore.sh: "{{ lookup('ansible.builtin.file', 'restore.sh') }}"
    rollback_timeout: 60
  register: rules

# Always, as Ansible heeds no "when" here.
- name: Connect anew
  ansible.builtin.meta: reset_connection

- name: Keep them
  mcp_tunnels.stack.firewall:
    instance: default
    state: confirmed
  when: rules.armed
"""

RETURN = r"""
actions:
  description: The actions that were taken, or would be in check mode, each with its reason.
  returned: success
  type: list
  elements: str
  sample: ["rules loaded: /etc/nftables.d/mcp-tunnel.d/default.nft changed"]
armed:
  description: Whether the rules are on trial.
  returned: O(state=loaded)
  type: bool
  sample: false
proven:
  description: Whether these rules had been remembered as good before this call.
  returned: O(state=loaded)
  type: bool
  sample: true
restored:
  description: Whether there were good rules to go back to.
  returned: O(state=restored)
  type: bool
  sample: true
last:
  description: Whether no other instance of this host has rules.
  returned: O(state=absent)
  type: bool
  sample: true
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import check_instance
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    state as firewall_state,
)


def ensure_state(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Does what the state asks for and returns the result."""
    firewall = firewall_state.Firewall()
    instance, state = check_instance(params["instance"]), params["state"]
    if state == "loaded":
        units = firewall.files.ensure_units(params["units"], check_mode)
        load = firewall_state.predict if check_mode else firewall_state.load
        rules = (params["host_rules"], params["instance_rules"], params["rollback_timeout"])
        return _with_units(load(firewall, instance, *rules), units)
    if state == "restored":
        return firewall_state.restore(firewall, instance, check_mode)
    if state == "absent":
        return firewall_state.remove(firewall, instance, check_mode)
    if check_mode:
        return {"changed": False, "actions": []}
    if state == "confirmed":
        return firewall_state.confirm(firewall, instance)
    return firewall_state.remember(firewall, instance)


def _with_units(result: dict[str, Any], units: dict[str, Any]) -> dict[str, Any]:
    """Adds to the result what was done about the units."""
    return {
        **result,
        "changed": result["changed"] or units["changed"],
        "actions": [f"{path} written" for path in units["changed_paths"]] + result["actions"],
        "diff": units["diff"] + result["diff"],
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            instance=dict(type="str", required=True),
            state=dict(
                type="str",
                choices=["loaded", "confirmed", "good", "restored", "absent"],
                default="loaded",
            ),
            host_rules=dict(type="str"),
            instance_rules=dict(type="str"),
            units=dict(type="dict"),
            rollback_timeout=dict(type="int", default=0),
        ),
        required_if=[("state", "loaded", ["host_rules", "instance_rules", "units"])],
        supports_check_mode=True,
    )
    run(module, lambda: ensure_state(module.params, module.check_mode))


if __name__ == "__main__":
    main()
