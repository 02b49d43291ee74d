#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight
short_description: Checks the variables of all hosts before any of them is touched
version_added: 0.1.0
description:
  - Checks all variables of a host on the controller, without a connection to it. Fails with
    everything that is wrong at once, each with the variable, the shape of its value and the
    remedy. Secret values are never shown.
  - The variables of the proxy are judged by the proxy's own code, which this collection ships. The
    file that it has judged is the file that the role C(proxy) writes.
  - Refuses variables that are named like those of this collection and that it does not know, with
    the name that was probably meant. Those that belong to something else are listed in
    C(mcp_tunnel_other_variables).
  - The result of comparing the host with the others of its group is that of
    M(mcp_tunnels.stack.group), once for all hosts.
  - Derives a plan from the variables, which the roles of this collection use. Register the
    result as C(mcp_tunnel_plan). Registered variables outrank facts, so nothing that a host says
    later changes it.
  - The variables are those that M(mcp_tunnels.stack.settings) has taken directly before.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  duty:
    description: Purpose of the run, as the name of a playbook; V(deploy) stands for C(site).
    type: str
    choices:
      - backup
      - breach
      - deploy
      - drain
      - reboot
      - recover
      - renew_cert
      - restore
      - rotate_ca
      - rotate_token
      - support
      - teardown
      - undrain
      - verify
    default: deploy
  fail:
    description:
      - Whether problems in the variables of the host are a failure of the host.
      - If not, they are in the result, for M(mcp_tunnels.stack.preflight_verdict).
    type: bool
    default: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Take the variables of every host
  mcp_tunnels.stack.settings:
  register: __mcp_tunnel_settings
  no_log: true

- name: Compare the hosts of the group
  mcp_tunnels.stack.group:
  register: __mcp_tunnel_group
  run_once: true

- name: Check the variables
  mcp_tunnels.stack.preflight:
  register: mcp_tunnel_plan
"""

RETURN = r"""
problems:
  description: Everything that is wrong, one entry for each variable, with the remedy.
  type: list
  returned: when there are problems
  elements: str
instance:
  description: Name of the instance.
  type: str
  returned: success
duty:
  description: Purpose of the run, as in O(duty).
  type: str
  returned: success
ca_phase:
  description: The phase of the CA that belongs to it, for M(mcp_tunnels.stack.tunnel_ca).
  type: str
  returned: success
mode:
  description: How credentials reach the state host, V(manual) or V(wif).
  type: str
  returned: success
state_host:
  description: Inventory host that keeps the credentials.
  type: str
  returned: success
replicas:
  description: Inventory hosts of the instance, also those that take no part in this run.
  type: list
  returned: success
  elements: str
leader:
  description: The host of this play on whose behalf the credentials are provisioned.
  type: str
  returned: success
canaries:
  description: Replicas of the instance that are deployed first, without others beside them.
  type: list
  returned: success
  elements: str
closed:
  description: Why the run may change nothing now, by C(mcp_tunnel_window); empty if it may.
  type: str
  returned: success
soak_seconds:
  description: How long a canary that was changed is watched; 0 for not at all.
  type: int
  returned: success
soak_beside:
  description: With how many other replicas it is compared at most.
  type: int
  returned: success
config_dir:
  description: Directory of the instance's configuration.
  type: str
  returned: success
state_dir:
  description: Directory of the instance's credentials on the state host.
  type: str
  returned: success
standby_dir:
  description: Directory of the encrypted copy of them on other replicas.
  type: str
  returned: success
unfinished_state:
  description: Directory on the state host that a restore leaves if it is killed.
  type: str
  returned: success
copies_metrics:
  description: File on the state host for the collector of metrics, empty if none is wanted.
  type: str
  returned: success
proxy_unit:
  description: The proxy's systemd unit.
  type: str
  returned: success
proxy_socket:
  description: The systemd unit of the proxy's listening sockets.
  type: str
  returned: success
cloudflared_unit:
  description: The systemd unit of cloudflared.
  type: str
  returned: success
cloudflared_grace_seconds:
  description: Seconds for which a stopping cloudflared may wait, above 0.
  type: float
  returned: success
renewal_unit:
  description: Name of the timer that renews the server certificate and of its service.
  type: str
  returned: success
ports:
  description: The loopback ports as numbers, by variable.
  type: dict
  returned: success
host_check:
  description: The objects that M(mcp_tunnels.stack.host_check) has to check.
  type: dict
  returned: success
firewall:
  description:
    - Elements of nftables sets, which do not overlap.
    - C(edge_v4) and C(edge_v6) are the networks of the tunnel edge, C(upstreams) the
      networks and ports of all routes, as V(10.20.0.15 . 8000).
  type: dict
  returned: success
domain:
  description:
    - The tunnel's domain in lower case, without a trailing dot. Empty until the API reports it.
  type: str
  returned: success
switches:
  description: The variables that are truth values, as such, however they were written.
  type: dict
  returned: success
routes:
  description: The routes, in lower case and without trailing dots, with their upstreams.
  type: dict
  returned: success
required_routes:
  description: Names of those routes whose upstreams must answer.
  type: list
  returned: success
  elements: str
route_options:
  description:
    - The C(paths) and C(methods) that the proxy lets through, by the name of the route. Routes that
      take all of them are left out, and an empty list stands for all.
  type: dict
  returned: success
allowed_ips:
  description: The IPv4 networks and addresses that the proxy may dial, unless it may dial any.
  type: list
  returned: success
  elements: str
proxy_config:
  description:
    - Content of the proxy's configuration file, which the proxy's own code has judged.
    - Without C(tunnel_domain) until the API has reported it, see
      P(mcp_tunnels.stack.with_domain#filter).
  type: str
  returned: success
proxy_shutdown_seconds:
  description: Whole seconds for which a stopping proxy may wait for requests in flight.
  type: int
  returned: success
health_timeout:
  description: Seconds that a replica has to become healthy.
  type: int
  returned: success
lease_seconds:
  description: Seconds for which a run holds the instance without another word.
  type: int
  returned: success
"""
