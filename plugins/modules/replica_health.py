#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: replica_health
short_description: Proves that a replica works, layer by layer
version_added: 0.1.0
description:
  - "Looks at the services, at the proxy's C(/readyz), at cloudflared's C(/ready) with all four
    connections to the edge, and makes one request for each route through the inner TLS of the
    host's own proxy, verified against the CA of the tunnel."
  - A route is healthy when its upstream answers with any HTTP status, which proves the path to the
    upstream; its answer to C(GET /) is not judged. An answer that the proxy gives in
    place of the upstream is a failure, unless the route is in maintenance, or has as many requests
    as it may.
  - An answer is believed if the process that has taken the connection belongs to the service that
    was asked; otherwise the finding names the holder of the port. A service runs if its processes
    have the code of the release that it was started with, as C(/proc) shows.
  - A drained replica (M(mcp_tunnels.stack.replica_drain)) is healthy if its cloudflared does not
    run and all else works. The edge is not looked at then.
  - Without O(edge), cloudflared need not run yet.
  - Waits a bounded time for the replica to become ready.
  - With O(firewall), also reports on the host's firewall, which saves a call of its own.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  instance:
    description: Name of the instance.
    type: str
    required: true
  domain:
    description: Domain of the tunnel.
    type: str
    required: true
  routes:
    description: The routes of the proxy, name to upstream.
    type: dict
    required: true
  required_routes:
    description:
      - Names of the routes whose upstreams must answer, by default all. Another one that does not
        answer is shown as C(down), and the replica counts as healthy.
    type: list
    elements: str
  route_options:
    description:
      - Names of routes to maps with the C(paths) and C(methods) that the proxy lets through. The
        request for such a route is one that it lets through, for its first path.
    type: dict
  ca_certificate_file:
    description: PEM file with the CA certificate of the tunnel, on this host.
    type: path
    required: true
  listen_port:
    description: Loopback port of the proxy's listener.
    type: int
    required: true
  admin_port:
    description: Loopback port of the proxy's health and metrics.
    type: int
    required: true
  metrics_port:
    description: Loopback port of cloudflared's health and metrics.
    type: int
    required: true
  edge:
    description:
      - Whether to look at cloudflared and its connections. Without it, a replica is healthy if all
        works that it needs before it joins the edge, as with C(joins_last) of
        M(mcp_tunnels.stack.replica).
    type: bool
    default: true
  timeout:
    description: Seconds to wait for the replica to become ready, in all.
    type: int
    default: 60
  fail:
    description: Whether a replica that does not work is a failure of the task.
    type: bool
    default: true
  renewal:
    description:
      - Whether to ask the signer of the state host if it would renew this replica's certificate. It
        signs nothing for that. A replica that could not renew is healthy all the same.
    type: bool
    default: false
  firewall:
    description:
      - Look at the firewall of the host as well, in the same call; O(firewall.deploying) is that of
        M(mcp_tunnels.stack.firewall_info). RV(healthy), RV(table) and the message then cover both.
    type: dict
    suboptions:
      deploying:
        description: Whether M(mcp_tunnels.stack.firewall) has loaded rules earlier in the same run.
        type: bool
        default: false
  copies:
    description:
      - Show what is known of the copies of the state as well, if this host has the state or a copy.
        RV(healthy) does not depend on them.
    type: dict
    suboptions:
      state_dir:
        description: The state directory of the instance.
        type: path
        required: true
      standby_file:
        description: The file in which a replica keeps a copy.
        type: path
        required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Does the replica work
  mcp_tunnels.stack.replica_health:
    instance: default
    domain: abcd1234.tunnel.anthropic.com
    routes:
      wiki: http://10.20.0.15:8000
    ca_certificate_file: /etc/mcp-tunnel/default/ca.crt
    listen_port: 8080
    admin_port: 8081
    metrics_port: 20241
  register: health
"""

RETURN = r"""
healthy:
  description: Whether everything works.
  returned: always
  type: bool
  sample: true
findings:
  description: One entry for each thing that was looked at.
  returned: always
  type: list
  elements: dict
  contains:
    layer:
      description: V(service), V(proxy), V(edge), V(ingress), V(inner TLS) or V(route).
      type: str
    object:
      description: The object that was checked.
      type: str
    ok:
      description: Whether it works.
      type: bool
    required:
      description: Whether the replica counts as healthy only if it does.
      type: bool
    detail:
      description: The observation.
      type: str
    remedy:
      description: The remedy if it does not work.
      type: str
    unit:
      description: The unit whose journal tells more.
      type: str
    purpose:
      description:
        - V(drained) or V(maintenance) for a thing that is out of service on purpose.
        - V(drained) on a failure of C(cloudflared) alone, which the playbook C(undrain) mends.
      type: str
drained:
  description: Since when the replica is drained, by whom and why. Empty if it is in service.
  returned: always
  type: str
table:
  description: The findings as lines for people.
  returned: always
  type: list
  elements: str
  sample: ["edge  http://127.0.0.1:20241/ready  ok  4 of 4 connections"]
ca_fingerprint:
  description:
    - SHA-256 of the certificate in O(ca_certificate_file), the CA that has to be registered on the
      tunnel.
    - Empty when the file holds no certificate.
  returned: always
  type: str
firewall:
  description: Findings and rows, as M(mcp_tunnels.stack.firewall_info) returns them.
  returned: when O(firewall) was given
  type: dict
"""

import hashlib
import ssl
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.report import copies_table
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import (
    TunnelError,
    run,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import check_instance
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.report import report
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.state import Firewall
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import (
    drain,
    health,
    renewal,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import Records
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.releases import Releases


def _fingerprint(pem: str) -> str:
    """SHA-256 of a certificate in hexadecimal, as the Console and openssl show it."""
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.strip())).hexdigest()
    except ValueError:
        return ""


def _with_firewall(result: dict[str, Any], firewall: dict[str, Any]) -> dict[str, Any]:
    """The result for a replica and the firewall in front of it."""
    failures = [part["msg"] for part in (result, firewall) if "msg" in part]
    return {
        **result,
        "healthy": result["healthy"] and firewall["healthy"],
        "table": result["table"] + firewall["table"],
        "firewall": {name: firewall[name] for name in ("findings", "rows")},
        **({"msg": "\n".join(failures)} if failures else {}),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            instance=dict(type="str", required=True),
            domain=dict(type="str", required=True),
            routes=dict(type="dict", required=True),
            required_routes=dict(type="list", elements="str"),
            route_options=dict(type="dict"),
            ca_certificate_file=dict(type="path", required=True),
            listen_port=dict(type="int", required=True),
            admin_port=dict(type="int", required=True),
            metrics_port=dict(type="int", required=True),
            edge=dict(type="bool", default=True),
            timeout=dict(type="int", default=60),
            fail=dict(type="bool", default=True),
            renewal=dict(type="bool", default=False),
            copies=dict(
                type="dict",
                options=dict(
                    state_dir=dict(type="path", required=True),
                    standby_file=dict(type="path", required=True),
                ),
            ),
            firewall=dict(type="dict", options=dict(deploying=dict(type="bool", default=False))),
        ),
        supports_check_mode=True,
    )
    params = module.params

    def examine() -> dict[str, Any]:
        check_instance(params["instance"])
        try:
            ca_certificate = Path(params["ca_certificate_file"]).read_text(encoding="ascii")
        except FileNotFoundError:
            raise TunnelError(
                params["ca_certificate_file"],
                f"is not there: instance {params['instance']} was not deployed on this host",
                "Run the site playbook",
            ) from None
        mark = drain.Mark(params["instance"])
        drained = str(mark.read() or "")
        replica = health.Replica(
            proxy_unit=f"mcp-proxy@{params['instance']}.service",
            cloudflared_unit=f"mcp-cloudflared@{params['instance']}.service",
            listen_port=params["listen_port"],
            admin_port=params["admin_port"],
            metrics_port=params["metrics_port"],
            domain=params["domain"],
            routes=params["routes"],
            required_routes=(
                params["routes"] if params["required_routes"] is None else params["required_routes"]
            ),
            route_options=params["route_options"] or {},
            ca_certificate=ca_certificate,
            drained=drained,
            returning=str(mark.returning() or ""),
            edge=params["edge"],
            releases={
                unit: Releases(state["part"]).path(state["version"])
                for unit, state in Records(params["instance"]).load("applied").items()
            },
        )
        findings = health.examine(replica, params["timeout"])
        if params["renewal"]:
            findings.append(renewal.look(params["instance"]))
        result = {
            **health.result(findings),
            "drained": drained,
            "ca_fingerprint": _fingerprint(ca_certificate),
        }
        if not result["healthy"]:
            result["msg"] = health.failure(findings)
        if params["firewall"]:
            deploying = params["firewall"]["deploying"]
            result = _with_firewall(result, report(Firewall(), params["instance"], deploying))
        if params["copies"]:
            result["table"] += copies_table(**params["copies"])
        if params["fail"] and not result["healthy"]:
            module.fail_json(**result)
        return result

    run(module, examine)


if __name__ == "__main__":
    main()
