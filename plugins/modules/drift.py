#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: drift
short_description: Says in which parts a replica differs from its inventory
version_added: 0.1.0
description:
  - The controller concludes it from the tasks of C(site.yml --check), and the host writes it for
    the textfile collector of its node exporter, if there is a directory for that.
  - It is a report, so it is written in check mode, too, where the task has C(check_mode=false).
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: The tasks that were compared show their differences themselves.
options:
  instance:
    description: Name of the instance.
    type: str
    required: true
  directory:
    description: Directory of the textfile collector. Empty for no file; then no host is asked.
    type: str
    default: ""
  parts:
    description: The parts that differ, which the controller adds.
    type: list
    elements: str
    choices: [releases, files, certificate, firewall, services, credentials]
    default: []
  checked_at:
    description: Unix time of the comparison, in seconds, which the controller adds.
    type: int
    default: 0
  ca_expiry:
    description: Unix time in seconds at which the CA certificate expires, likewise; 0 if unknown.
    type: int
    default: 0
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Report the drift
  mcp_tunnels.stack.drift:
    instance: default
    directory: /var/lib/prometheus/node-exporter
  check_mode: false
"""

RETURN = r"""
parts:
  description: The parts that differ.
  returned: success
  type: list
  elements: str
  sample: [files]
written:
  description: Whether the file was written. Without the directory, it was not.
  returned: success
  type: bool
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import check_instance
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import textfile

_PARTS = ("releases", "files", "certificate", "firewall", "services", "credentials")


def report(options: dict[str, Any]) -> dict[str, Any]:
    """The module's result."""
    instance = check_instance(options["instance"])
    parts = [part for part in _PARTS if part in options["parts"]]
    differs: Mapping[textfile.Labels, int] = {
        (("part", part),): int(part in parts) for part in _PARTS
    }
    gauges = [
        textfile.Gauge(
            "mcp_tunnel_drift", "Whether the replica differs from its inventory.", differs
        ),
        textfile.Gauge(
            "mcp_tunnel_drift_check_timestamp_seconds",
            "When a run last compared the replica with its inventory (Unix time).",
            {(): options["checked_at"]},
        ),
    ]
    if options["ca_expiry"]:
        gauges.append(
            textfile.Gauge(
                "mcp_tunnel_ca_expiry_timestamp_seconds",
                "When the certificate of the CA expires (Unix time).",
                {(): options["ca_expiry"]},
            )
        )
    name = f"mcp_tunnel_drift_{instance}.prom"
    written = textfile.write(options["directory"], name, instance, gauges)
    return {"changed": False, "parts": parts, "written": written}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "instance": {"type": "str", "required": True},
            "directory": {"type": "str", "default": ""},
            "parts": {"type": "list", "elements": "str", "choices": list(_PARTS), "default": []},
            "checked_at": {"type": "int", "default": 0},
            "ca_expiry": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    run(module, lambda: report(module.params))


if __name__ == "__main__":
    main()
