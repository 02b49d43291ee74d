#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_check
short_description: Describes a host, and refuses one that cannot become a replica
version_added: 0.1.0
description:
  - Reads the facts that a deployment needs, in one call, and checks them.
  - Fails with all reasons at once, each with its remedy. Changes nothing.
  - Warns of drop-ins that take protection from the services, such as those of LXC and Incus images.
  - Warns about configuration files of another cloudflared, which the service does not see.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  ports:
    description: Loopback ports that the replica will listen on.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port.
        type: int
        required: true
      variable:
        description: Name of the variable that sets it.
        type: str
        required: true
      unit:
        description: The systemd unit that may be listening on it already.
        type: str
        required: true
  files:
    description: Files that must be on the host already.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file.
        type: path
        required: true
      variable:
        description: Name of the variable that sets it.
        type: str
        required: true
      remedy:
        description: The action to take where it is missing.
        type: str
        default: Put the file there, or correct the path
  tls_files:
    description: Files for TLS towards upstreams, which the proxy must be able to use.
    type: list
    elements: dict
    default: []
    suboptions:
      route:
        description: Name of the route. If it is empty, the file is for all routes.
        type: str
        default: ""
      client_cert:
        description: The client certificate.
        type: path
        default: ""
      client_key:
        description: Its key.
        type: path
        default: ""
      ca_file:
        description: The certificates that are trusted for the route's upstream.
        type: path
        default: ""
  users:
    description: Users of which RV(facts.users) shall say whether they exist.
    type: list
    elements: str
    default: []
  members_file:
    description: File in which the replica keeps its state host, and the replicas beside it.
    type: path
  instance:
    description: Name of the instance, of which RV(facts.drained) shall say whether it is drained.
    type: str
  renewal_directory:
    description: Directory of the key with which the replica asks its state host for certificates.
    type: path
  standby_file:
    description: File in which the replica keeps a copy of the state, for RV(facts.standby).
    type: path
  stale_files:
    description: Files and directories of a state host, for RV(facts.stale_files).
    type: list
    elements: str
    default: []
  encryption:
    description:
      - How the host is to keep its secrets on its disk, see
        O(mcp_tunnels.stack.file_set#module:entries[].encryption).
      - V(auto) is V(host) where systemd can encrypt, and V(none) elsewhere, with a warning. A host
        that cannot do what another value says is refused.
    type: str
    choices: [none, host, tpm2, auto]
    default: none
  firewall:
    description:
      - What the variables of the firewall name. When given, nft and the kernel are asked as well
        whether they know all that its rules are made of, which needs root.
    type: dict
    suboptions:
      resolvers:
        description: Name servers that the services may ask, by default the host's own.
        type: list
        elements: str
        default: []
      users:
        description: Users that must be accounts of the host itself.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: The user.
            type: str
            required: true
          variable:
            description: Name of the variable that names the user.
            type: str
            required: true
      upstreams:
        description:
          - Upstreams of the routes. A name that leads to an address which the proxy may not dial is
            refused; one that leads nowhere is not.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name or address of the upstream.
            type: str
            required: true
          networks:
            description: IPv4 networks that may be dialled.
            type: list
            elements: str
            required: true
          variable:
            description: Name of the variable that has the route.
            type: str
            required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Look at the host
  mcp_tunnels.stack.host_check:
    ports:
      - port: 8080
        variable: proxy_listen_port
        unit: mcp-proxy@default.service
  register: host
"""

RETURN = r"""
facts:
  description: The facts of the host.
  returned: success
  type: dict
  contains:
    machine:
      description: The same for all names of one machine, until it is booted again.
      type: str
    identity:
      description: A mark of the installation, the same after every boot.
      type: str
    remembered:
      description:
        - The C(state_host), the C(replicas) and the marks of hosts that were C(breached) in
          O(members_file).
      type: dict
    drained:
      description: Whether O(instance) is drained on this host.
      type: bool
    standby:
      description: SHA-256 of O(standby_file), empty without it.
      type: str
    stale_files:
      description: Those of O(stale_files) that are there.
      type: list
      elements: str
    architecture:
      description: The machine, V(x86_64) or V(aarch64).
      type: str
    distribution:
      description: Family of the operating system, V(debian), V(ubuntu) or V(rhel).
      type: str
    python_version:
      description: Full version of C(/usr/bin/python3).
      type: str
    systemd_version:
      description: Major version of systemd.
      type: int
    cores:
      description: How many processors the services of the host may use.
      type: int
    resolvers:
      description: Addresses of the name servers that the host uses.
      type: list
      elements: str
    users:
      description: Those of O(users) that exist.
      type: list
      elements: str
    encryption:
      description: How the host can keep its secrets, as O(encryption) says.
      type: str
    renewal_key:
      description: The public key in O(renewal_directory), empty if there is none.
      type: str
    releases:
      description:
        - Active release of each part of the stack, for M(mcp_tunnels.stack.release). One that lacks
          something is left out.
      type: dict
    unpacked:
      description: All complete releases of each part, active or not. None has to be shipped.
      type: dict
  sample:
    machine: 0f3c5d1e9a7b2468
    identity: 5d1e9a7b24680f3c
    remembered: {state_host: replica1, replicas: [replica1, replica2]}
    drained: false
    architecture: x86_64
    distribution: debian
    python_version: 3.11.2
    systemd_version: 252
    cores: 4
    resolvers: [10.77.0.1]
    users: [mcp-proxy, mcp-cloudflared]
    encryption: none
    renewal_key: ""
    releases: {cloudflared: 2026.9.3-77e26d8d}
    unpacked: {cloudflared: [2026.8.2-d1b2c3e4, 2026.9.3-77e26d8d], proxy: []}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.at_rest import CHOICES
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.ssh_keys import read_public_key
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import (
    cloudflared as cloudflared_host,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import membership
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check.facts import (
    gather,
    warnings,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import drain, releases

FIREWALL = dict(
    resolvers=dict(type="list", elements="str", default=[]),
    users=dict(
        type="list",
        elements="dict",
        default=[],
        options=dict(
            name=dict(type="str", required=True),
            variable=dict(type="str", required=True),
        ),
    ),
    upstreams=dict(
        type="list",
        elements="dict",
        default=[],
        options=dict(
            name=dict(type="str", required=True),
            networks=dict(type="list", elements="str", required=True),
            variable=dict(type="str", required=True),
        ),
    ),
)


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            ports=dict(
                type="list",
                elements="dict",
                default=[],
                options=dict(
                    port=dict(type="int", required=True),
                    variable=dict(type="str", required=True),
                    unit=dict(type="str", required=True),
                ),
            ),
            files=dict(
                type="list",
                elements="dict",
                default=[],
                options=dict(
                    path=dict(type="path", required=True),
                    variable=dict(type="str", required=True),
                    remedy=dict(type="str", default="Put the file there, or correct the path"),
                ),
            ),
            tls_files=dict(
                type="list",
                elements="dict",
                default=[],
                options=dict(
                    route=dict(type="str", default=""),
                    client_cert=dict(type="path", default=""),
                    client_key=dict(type="path", default="", no_log=False),
                    ca_file=dict(type="path", default=""),
                ),
            ),
            users=dict(type="list", elements="str", default=[]),
            members_file=dict(type="path"),
            instance=dict(type="str"),
            renewal_directory=dict(type="path"),
            standby_file=dict(type="path"),
            stale_files=dict(type="list", elements="str", default=[]),
            encryption=dict(type="str", choices=list(CHOICES), default="none"),
            firewall=dict(type="dict", options=FIREWALL),
        ),
        supports_check_mode=True,
    )

    def look() -> dict[str, Any]:
        options = dict(module.params)
        members_file, instance = options.pop("members_file") or "", options.pop("instance")
        renewal_directory = options.pop("renewal_directory") or ""
        standby_file = options.pop("standby_file") or ""
        stale_files = options.pop("stale_files")
        facts = {
            **gather(**options),
            "identity": membership.identity(),
            "remembered": membership.remembered(members_file),
            "drained": bool(instance) and drain.Mark(instance).read() is not None,
            "renewal_key": read_public_key(renewal_directory) if renewal_directory else "",
            "standby": membership.standby(standby_file),
            "stale_files": [path for path in stale_files if secret_files.lstat(path)],
            "releases": releases.in_use(),
            "unpacked": releases.unpacked(),
        }
        remarks = [*warnings(module.params["encryption"]), *cloudflared_host.warnings()]
        return {"facts": facts, "warnings": remarks}

    run(module, look)


if __name__ == "__main__":
    main()
