#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: replica
short_description: Makes the services of a replica run with the files on disk, and puts them back
version_added: 0.1.0
description:
  - Activates releases, enables and starts services, and restarts those that run with anything
    other than the files now on disk, however long ago these were written. So the next run
    completes one that was killed before it restarted a service.
  - Services are started in the order of the list and stopped in the reverse order. When one is
    restarted, those after it are stopped first and started again, so that cloudflared leaves the
    edge before its proxy goes away.
  - If only files have changed that a service can read again, the service is reloaded. The restart
    of a service with a socket unit leaves that unit alone, and the services after it, so that
    clients that connect meanwhile wait.
  - The cloudflared of a drained replica (M(mcp_tunnels.stack.replica_drain)) is not started, and
    stopped if it runs. All else is done.
  - With O(joins_last), nor is that of a replica that never worked. At the edge it would get its
    share of the requests, also if it cannot answer them.
  - Before services start with O(state=applied) and O(state=restored), each secret that one of the
    unit files among the files names is brought to the form in which that unit reads it, encrypted
    or in clear, the CA's key of a state host among them.
  - A timer that belongs to the instance can be started and stopped with it.
  - A record of what runs is kept below C(/var/lib/mcp-tunnel-replica), for root only.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: The files are those of other tasks; RV(actions) names the actions on services.
options:
  instance:
    description: Name of the instance.
    type: str
    required: true
  state:
    description:
      - V(applied) makes the services run with the files on disk.
      - V(good) remembers the applied state as good, and removes releases that nothing needs
        any more. A drain that was ended (M(mcp_tunnels.stack.replica_drain)) is then proven.
      - V(restored) puts back the releases and files that were last good and restarts the services.
      - V(renewed) records the services' current O(services[].live_files) as good, after they
        were replaced by equivalent ones outside a deployment.
      - V(absent) stops and disables the services and forgets what they ran with. Files and releases
        stay.
    type: str
    choices: [applied, good, restored, renewed, absent]
    default: applied
  services:
    description: The services of the instance.
    type: list
    elements: dict
    required: true
    suboptions:
      unit:
        description: Name of the systemd unit.
        type: str
        required: true
      part:
        description: Part of the stack whose release it runs.
        type: str
        required: true
        choices: [proxy, cloudflared]
      version:
        description: Name of the release.
        type: str
        required: true
      files:
        description: Files that it reads when it starts, its unit files included.
        type: list
        elements: path
        required: true
      live_files:
        description: Files that it reads again by itself. They are put back, but never restart it.
        type: list
        elements: path
        default: []
      reload_files:
        description:
          - Those of O(services[].files) that it reads again on C(systemctl reload).
          - A service that has some also goes over to another release then.
        type: list
        elements: path
        default: []
      socket:
        description: Socket unit whose sockets it is given. It is started before the service.
        type: str
        default: ""
      socket_files:
        description: Those of O(services[].files) that make the socket unit.
        type: list
        elements: path
        default: []
      takeover:
        description:
          - Whether another release takes over from the one that runs, for a service that has
            O(services[].reload_files). With V(false) it is restarted.
          - Whether it has taken over is looked at from outside, in C(/proc). A service that runs
            other code than its release is restarted, also without a change.
        type: bool
        default: true
  timer:
    description:
      - A timer of the instance, started or stopped after the services with O(state=applied) and
        O(state=absent). Its files, also the link that starts it at boot, are those of other tasks.
    type: dict
    suboptions:
      name:
        description: Name of the timer and of its service, without C(.timer).
        type: str
        required: true
      wanted:
        description: Whether it should run. With O(state=absent) it never does.
        type: bool
        required: true
      socket:
        description: A socket that its service needs, and that listens as long as the timer runs.
        type: str
        default: ""
      signs:
        description:
          - Whether that socket is the signer of a state host. On any other host, and with
            O(state=absent), nobody may ask for certificates of the instance over SSH any more.
        type: bool
        default: false
  admin_port:
    description:
      - Loopback port of the proxy's metrics. With it, O(state=applied) first keeps what the proxy
        has counted until then, if what runs is remembered as good.
        M(mcp_tunnels.stack.replica_traffic) returns it.
    type: int
  joins_last:
    description:
      - With O(state=applied), whether cloudflared of a replica that was never remembered as good
        stays stopped and disabled, if it does not run. RV(waits) then says so. A second call
        without this option enables and starts it, once M(mcp_tunnels.stack.replica_health) has
        proven all but the edge.
    type: bool
    default: false
  keeps_records:
    description:
      - With O(state=absent), whether the record of what the services ran with stays. It may be
        evidence of a breach.
    type: bool
    default: false
  kept_paths:
    description: Files that O(state=restored) does not put back.
    type: list
    elements: path
    default: []
  leaves_edge:
    description:
      - With O(state=restored), whether a replica that was never good leaves the edge, as others
        answer its requests. Then its cloudflared is stopped, and no boot starts it.
    type: bool
    default: false
  pending_paths:
    description: In check mode, files that earlier tasks would have changed.
    type: list
    elements: path
    default: []
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Run what was deployed
  mcp_tunnels.stack.replica:
    instance: default
    services:
      - unit: mcp-proxy@default.service
        part: proxy
        version: 0.1.0-cp311-x86_64-0ba3b6e3
        files:
          - /etc/mcp-tunnel/default/proxy.yaml
  register: applied
"""

RETURN = r"""
actions:
  description: The actions that were taken, or would be in check mode, each with its reason.
  returned: O(state) is V(applied), V(restored) or V(absent)
  type: list
  elements: str
  sample: ["mcp-proxy@default.service started: /etc/mcp-tunnel/default/proxy.yaml changed"]
proven:
  description:
    - Whether the running state was already remembered as good before this call. With
      O(state=renewed), only O(services[].live_files) are compared.
    - With O(state=applied), never that of a replica that was drained and not remembered as good
      since.
  returned: O(state) is V(applied) or V(renewed)
  type: bool
  sample: true
waits:
  description:
    - Whether cloudflared was not started because of O(joins_last).
    - Never in check mode, which shows all that a run would start.
  returned: O(state=applied)
  type: bool
  sample: false
restored:
  description: Whether there was anything good to go back to.
  returned: O(state=restored)
  type: bool
  sample: true
alone:
  description: Whether no other instance of the stack was deployed on this machine.
  returned: O(state=absent)
  type: bool
  sample: true
removed_releases:
  description: Releases that were removed.
  returned: O(state=good)
  type: list
  elements: str
  sample: ["cloudflared 2026.9.3-77e26d8d"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd, timer_state
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.lease import Lease
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.signatories import (
    Signatories,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import drain, traffic
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import (
    records as replica_records,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import (
    state as replica_state,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.services import Service


def ensure_state(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Does what the state asks for and returns the result."""
    services = [
        Service(
            unit=item["unit"],
            part=item["part"],
            version=item["version"],
            files=tuple(item["files"]),
            live_files=tuple(item["live_files"]),
            reload_files=tuple(item["reload_files"]),
            socket=item["socket"],
            socket_files=tuple(item["socket_files"]),
            takeover=item["takeover"],
        )
        for item in params["services"]
    ]
    records = replica_records.Records(params["instance"])
    mark = drain.Mark(params["instance"])
    away = drain.away(mark)
    if params["state"] == "applied":
        if params["admin_port"] and not check_mode:
            traffic.remember(params["instance"], params["admin_port"], records)
        pending = frozenset(params["pending_paths"])
        waits = params["joins_last"] and not (check_mode or away) and _is_new(mark, records)
        held = {mark.unit: "waits until all else works"} if waits else {}
        result = replica_state.apply(
            services, records, check_mode, pending, away=held or away, unproven=held
        )
        proven = result["proven"] and mark.returning() is None
        return _with_timer({**result, "proven": proven, "waits": waits}, params, check_mode)
    if params["state"] == "restored":
        kept = frozenset(params["kept_paths"])
        leaves = params["leaves_edge"]
        return replica_state.restore(
            services, records, check_mode, kept, away=away, leaves_edge=leaves
        )
    if params["state"] == "absent":
        result = replica_state.remove(services, records, check_mode, params["keeps_records"])
        return _with_timer(result, params, check_mode)
    if params["state"] == "renewed":
        return replica_state.renew(services, records, check_mode)
    if check_mode:
        return {"changed": False, "removed_releases": []}
    remembered = replica_state.remember(services, records)
    if not away:
        mark.settle()
    return remembered


def _is_new(mark: drain.Mark, records: replica_records.Records) -> bool:
    """Whether the replica never worked, and is not at the edge."""
    return not records.load("good") and not systemd.show([mark.unit])[0].alive


def _with_timer(result: dict[str, Any], params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Starts or stops the timer, if there is one, and adds to the result what was done."""
    timer = params["timer"]
    if not timer:
        return result
    wanted = timer["wanted"] and params["state"] == "applied"
    actions = timer_state.ensure(timer["name"], wanted, check_mode, socket=timer["socket"])
    # Of a host that was the state host before.
    if not (wanted and timer["signs"]) and _forget_signatories(params["instance"], check_mode):
        actions.append(f"nobody may ask {timer['socket']} over SSH any more")
    return {
        **result,
        "changed": result["changed"] or bool(actions),
        "actions": result["actions"] + actions,
    }


def _forget_signatories(instance: str, check_mode: bool) -> bool:
    """Removes the lines of an instance; returns whether there were any.

    The file has lines of other instances, which may be deployed at the same time.
    """
    signatories = Signatories(instance)
    found = signatories.forget(None, check_mode=True)
    if check_mode or not found:
        return found
    with Lease(instance).alone():
        return signatories.forget(None)


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            instance=dict(type="str", required=True),
            state=dict(
                type="str",
                choices=["applied", "good", "restored", "renewed", "absent"],
                default="applied",
            ),
            services=dict(
                type="list",
                elements="dict",
                required=True,
                options=dict(
                    unit=dict(type="str", required=True),
                    part=dict(type="str", required=True, choices=["proxy", "cloudflared"]),
                    version=dict(type="str", required=True),
                    files=dict(type="list", elements="path", required=True),
                    live_files=dict(type="list", elements="path", default=[]),
                    reload_files=dict(type="list", elements="path", default=[]),
                    socket=dict(type="str", default=""),
                    socket_files=dict(type="list", elements="path", default=[]),
                    takeover=dict(type="bool", default=True),
                ),
            ),
            timer=dict(
                type="dict",
                options=dict(
                    name=dict(type="str", required=True),
                    wanted=dict(type="bool", required=True),
                    socket=dict(type="str", default=""),
                    signs=dict(type="bool", default=False),
                ),
            ),
            admin_port=dict(type="int"),
            joins_last=dict(type="bool", default=False),
            keeps_records=dict(type="bool", default=False),
            kept_paths=dict(type="list", elements="path", default=[]),
            leaves_edge=dict(type="bool", default=False),
            pending_paths=dict(type="list", elements="path", default=[]),
        ),
        supports_check_mode=True,
    )
    run(module, lambda: ensure_state(module.params, module.check_mode))


if __name__ == "__main__":
    main()
