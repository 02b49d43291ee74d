#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_tree
short_description: Says whether a release is on a host, and unpacks it there
version_added: 0.1.0
description:
  - The part of M(mcp_tunnels.stack.release) that runs on the host. Use that one.
  - A release gets its name only when everything is unpacked and on disk.
  - A release that the services' users cannot read is opened to them, and gets the labels of the
    SELinux policy if that is enabled.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: A release has no content that could be shown as a difference.
options:
  part:
    description: The part that the release belongs to.
    type: str
    required: true
    choices: [proxy, cloudflared]
  version:
    description: Name of the release.
    type: str
    required: true
  archive:
    description: The release as a C(tar.gz) on this host. Without it, and without O(links_to),
      nothing is made.
    type: path
  links_to:
    description: Path of a program of this host; the release is a link to it in C(bin).
    type: path
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Is the release there
  mcp_tunnels.stack.release_tree:
    part: proxy
    version: 0.1.0-cp311-x86_64-0ba3b6e3
  register: release
"""

RETURN = r"""
present:
  description: Whether the release is on the host now.
  returned: success
  type: bool
  sample: true
path:
  description: Where the release is, or would be.
  returned: success
  type: str
  sample: /opt/mcp-tunnel/proxy/0.1.0-cp311-x86_64-0ba3b6e3
version:
  description: Name of the release.
  returned: success
  type: str
  sample: 0.1.0-cp311-x86_64-0ba3b6e3
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.releases import Releases


def ensure_state(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Unpacks or links the release when it is missing and can be made; returns the result."""
    releases = Releases(params["part"])
    version = params["version"]
    if releases.is_present(version):
        changed = releases.open_to_services(version, check_mode)
    else:
        changed = bool(params["archive"] or params["links_to"])
        if changed and not check_mode:
            _make(releases, params)
    return {
        "changed": changed,
        "present": releases.is_present(version),
        "path": str(releases.path(version)),
        "version": version,
    }


def _make(releases: Releases, params: dict[str, Any]) -> None:
    if params["archive"]:
        releases.unpack(params["version"], Path(params["archive"]))
    else:
        releases.link(params["version"], params["links_to"])


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            part=dict(type="str", required=True, choices=["proxy", "cloudflared"]),
            version=dict(type="str", required=True),
            archive=dict(type="path"),
            links_to=dict(type="path"),
        ),
        mutually_exclusive=[("archive", "links_to")],
        supports_check_mode=True,
    )
    run(module, lambda: ensure_state(module.params, module.check_mode))


if __name__ == "__main__":
    main()
