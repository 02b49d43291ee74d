#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: state_host
short_description: Holds an instance for a run, and keeps the list of its replicas
version_added: 0.1.0
description:
  - Of the runs that would change an instance, one goes on at a time. It has a lease on the state
    host, which it gives back at its end. The lease of a run that was killed ends by itself. A later
    run of the same controller takes it over at once.
  - The state host remembers the replicas that may have its credentials, in C(replicas.json). An
    inventory need not show all of them.
  - Run it on the state host of the instance, as root.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: The list has no secret, but nothing of interest, either.
options:
  instance:
    description: Name of the instance.
    type: str
    required: true
  path:
    description: The state directory of the instance.
    type: path
    required: true
  state:
    description:
      - V(held) takes the lease, or takes it for longer, looks at the list of replicas, and reads
        what is stored. In check mode it only reads.
      - V(released) notes who was proven and who is gone, and gives the lease back.
    type: str
    choices: [held, released]
    default: held
  replicas:
    description:
      - The replicas of the run, by name, each with the fact C(identity) of
        M(mcp_tunnels.stack.host_check).
    type: dict
    default: {}
  inventory:
    description: All replicas of the instance in the inventory.
    type: list
    elements: str
    default: []
  needs_all:
    description: Whether to refuse if a replica of the list is not in O(inventory).
    type: bool
    default: false
  needs_list:
    description:
      - Whether to refuse if the state directory has a CA and no list of replicas. A rotation would
        cut off replicas that nobody knows of.
    type: bool
    default: false
  note:
    description: Whether to put O(replicas) on the list, and to take O(forget) off it.
    type: bool
    default: false
  renewal:
    description:
      - Who may ask this host for certificates, over SSH. Without it, that stays as it is.
    type: dict
    suboptions:
      wanted:
        description: Whether anybody may.
        type: bool
        required: true
      keys:
        description:
          - The replicas of the run that ask, each with its public key as
            M(mcp_tunnels.stack.renewal_key) returns it, empty while it has none. With O(note=true)
            these keys are let in, and those that other members of the list have left here before.
        type: dict
        default: {}
  forget:
    description: Replicas that are gone for good.
    type: list
    elements: str
    default: []
  installed_anew:
    description:
      - Hosts that replicas remember as broken into, and whose names other machines have now.
        O(forget) may name them also if this host knows of no mark.
    type: list
    elements: str
    default: []
  credentials_for:
    description:
      - The replicas that the run gives credentials. One that was taken out as broken into is
        refused, unless O(forget) names it and O(replicas) shows that it is another machine now.
    type: list
    elements: str
    default: []
  breached:
    description:
      - Hosts that were broken into, by name, each with the C(machine) that it says it is, empty if
        that is not known, and whether C(evidence) was collected. With O(note=true) they are marked
        so, are members no more, and may not ask for certificates any more, also if something else
        is refused.
    type: dict
    default: {}
  ca_certificate:
    description:
      - The CA certificate (PEM) that the run is given for a new CA, if any. One that has signed for
        a host which was broken into is refused.
    type: str
    default: ""
  trusted:
    description:
      - The CA certificate (PEM) that the other replicas trust. It has signed for the hosts that
        O(breached) names, if this host has none.
    type: str
    default: ""
  confirmed:
    description: With O(state=released), the replicas that the run has proven.
    type: list
    elements: str
    default: []
  recipients:
    description: Those for whom copies of the state have to be encrypted, for RV(standby).
    type: list
    elements: str
    default: []
  textfile_dir:
    description:
      - Directory of the textfile collector of the node exporter, in which a file says what is known
        of the copies. With O(state=held) it is refused if it is not there, else it is left alone.
        Empty for none.
    type: str
    default: ""
  copied:
    description:
      - The copy of the state that the run has made or found, as
        M(mcp_tunnels.stack.state_copy) returns it, with its C(kind), V(backup) or V(standby), and
        the C(hosts) that keep it.
    type: dict
    default: {}
  seen:
    description:
      - The replicas that the run has looked at, each with the fact C(standby) of
        M(mcp_tunnels.stack.host_check). It is remembered who keeps the last standby copy, and when
        that was seen.
    type: dict
    default: {}
  seen_at:
    description: The time for that, by the controller's clock, which adds it.
    type: str
    default: ""
  compare:
    description: Whether to compare the three options below with the stored values.
    type: bool
    default: false
  token:
    description: The tunnel token that the run is given, if any.
    type: str
  tunnel_id:
    description: The tunnel's ID that the run is given, if any.
    type: str
  domain:
    description: The tunnel's domain, if it is known.
    type: str
  break_lease:
    description: ID of a run whose lease is to be taken over.
    type: str
    default: ""
  seconds:
    description: How long the lease holds without another call.
    type: int
    default: 900
  run:
    description: The run, as the action plugin describes it.
    type: dict
    suboptions:
      id:
        description: Tells it from all others.
        type: str
        required: true
      owner:
        description: Who runs it, and where.
        type: str
        required: true
      controller:
        description: Tells the machine or container that it runs on from others.
        type: str
        required: true
      process:
        description: Its process there.
        type: str
        required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Hold the instance
  mcp_tunnels.stack.state_host:
    instance: default
    path: /var/lib/mcp-tunnel/default
    replicas: {replica1: 0f3c5d1e9a7b2468}
    inventory: [replica1, replica2]
  register: held

- name: Let go of it
  mcp_tunnels.stack.state_host:
    instance: default
    path: /var/lib/mcp-tunnel/default
    state: released
    confirmed: [replica1]
"""

RETURN = r"""
present:
  description: Whether the state directory was there before.
  returned: O(state=held)
  type: bool
contents:
  description: The CA certificate, the tunnel's ID and its domain, as far as they are stored.
  returned: O(state=held)
  type: dict
  sample: {tunnel-id: tnl_01ABCDEF}
at:
  description: The time of the answer by the controller's clock, in seconds since the epoch.
  returned: O(state=held)
  type: float
missing:
  description: Replicas that the state host remembers and the inventory lacks.
  returned: O(state=held)
  type: list
  elements: str
host_keys:
  description: The public host keys of the host's SSH server.
  returned: O(state=held)
  type: list
  elements: str
noted:
  description: Whether the list and the keys had the replicas of the run, before this call.
  returned: O(state=held)
  type: bool
standby:
  description:
    - SHA-256 of the encrypted copy of the state that other replicas keep. Empty if there is none,
      or if it is of another state, or for other recipients.
  returned: O(state=held)
  type: str
breach:
  description: The hosts that were taken out as broken into.
  returned: O(state=held)
  type: dict
  contains:
    token:
      description:
        - SHA-256 of the tunnel token that is stored, which is a random secret. Empty if there is
          none, or if no host is marked.
      type: str
    due:
      description:
        - The credentials that such a host knows and that are still good. V(ca) if a CA whose
          certificates it may have is in use, or beside the one in use; V(token) if its tunnel token
          is, or if none is stored.
      type: list
      elements: str
      sample: [ca, token]
    marked:
      description:
        - The hosts, each with its C(name), C(machine), the time C(since) which it is marked, and
          that of the C(evidence); empty where one is not known.
      type: list
      elements: dict
already_stored:
  description: Whether the given token, ID and domain are those that are stored.
  returned: O(state=held)
  type: bool
misfit:
  description: Why they do not fit what is stored; empty if they do.
  returned: O(state=held)
  type: str
"""

from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.metrics import Metrics
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.notes import Notes
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.quiet_module import QuietModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision import (
    breaches,
    state_host,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.lease import (
    Lease,
    as_run,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.signatories import (
    Signatories,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.token_store import (
    TokenRequest,
)


def main() -> None:
    texts = {"type": "list", "elements": "str", "default": []}
    module = QuietModule(
        argument_spec={
            "instance": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
            "replicas": {"type": "dict", "default": {}},
            "inventory": texts,
            "needs_all": {"type": "bool", "default": False},
            "needs_list": {"type": "bool", "default": False},
            "note": {"type": "bool", "default": False},
            "renewal": {
                "type": "dict",
                "options": {
                    "wanted": {"type": "bool", "required": True},
                    "keys": {"type": "dict", "default": {}, "no_log": False},
                },
            },
            "forget": texts,
            "installed_anew": texts,
            "credentials_for": texts,
            "breached": {"type": "dict", "default": {}},
            "ca_certificate": {"type": "str", "default": ""},
            "trusted": {"type": "str", "default": ""},
            "confirmed": texts,
            "recipients": texts,
            "textfile_dir": {"type": "str", "default": ""},
            "copied": {"type": "dict", "default": {}},
            "seen": {"type": "dict", "default": {}},
            "seen_at": {"type": "str", "default": ""},
            "compare": {"type": "bool", "default": False},
            "token": {"type": "str", "no_log": True},
            "tunnel_id": {"type": "str"},
            "domain": {"type": "str"},
            "break_lease": {"type": "str", "default": ""},
            "seconds": {"type": "int", "default": 900},
            "run": {
                "type": "dict",
                "options": {
                    name: {"type": "str", "required": True}
                    for name in ("id", "owner", "controller", "process")
                },
            },
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure_state(module.params, module.check_mode))


def ensure_state(options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Holds the instance, or lets go of it; returns the module's result."""
    lease = Lease(options["instance"])
    this = as_run(options["run"])
    if options["state"] == "released":
        if not check_mode:
            ended = (options["confirmed"], options["forget"], Signatories(options["instance"]))
            state_host.release(options["path"], this, lease, *ended, _notes(options))
        return {"changed": False}
    token = TokenRequest(
        path=options["path"],
        replace=False,
        **{name: options[name] for name in ("token", "tunnel_id", "domain")},
    )
    request = state_host.Request(
        path=options["path"],
        run=this,
        seconds=options["seconds"],
        instead_of=options["break_lease"],
        replicas=options["replicas"],
        inventory=tuple(options["inventory"]),
        forget=tuple(options["forget"]),
        installed_anew=tuple(options["installed_anew"]),
        domain=options["domain"] or "",
        needs_all=options["needs_all"],
        needs_list=options["needs_list"],
        note=options["note"],
        recipients=tuple(options["recipients"]),
        notes=_notes(options),
        token=token if options["compare"] else None,
        renewal=_renewal(options),
        credentials_for=tuple(options["credentials_for"]),
        breached=_breached(options),
    )
    return state_host.hold(request, lease, check_mode)


def _notes(options: dict[str, Any]) -> Notes:
    gone = dict.fromkeys(options["forget"], "") if options["state"] == "released" else {}
    return Notes(
        copied=options["copied"],
        seen={**options["seen"], **gone},
        at=options["seen_at"],
        metrics=Metrics(options["instance"], options["textfile_dir"]),
    )


def _breached(options: dict[str, Any]) -> state_host.Breached:
    hosts = breaches.as_found(options["breached"], "breached")
    signatories = Signatories(options["instance"])
    return state_host.Breached(hosts, signatories, options["ca_certificate"], options["trusted"])


def _renewal(options: dict[str, Any]) -> state_host.Renewal | None:
    given = options["renewal"]
    if given is None:
        return None
    signatories = Signatories(options["instance"])
    return state_host.Renewal(given["wanted"], given["keys"], signatories)


if __name__ == "__main__":
    main()
