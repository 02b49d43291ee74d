#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bundle
short_description: Assembles a bundle of releases on the controller
version_added: 0.1.0
description:
  - Makes the releases of the proxy for the targets in C(mcp_tunnel_bundle_targets),
    and cloudflared as C(cloudflared_install_method) and its variables ask for, and writes
    them to C(mcp_tunnel_bundle_dest) with a manifest, checksums and an SBOM. No host is needed.
  - A controller with C(mcp_tunnel_bundle) ships them without an index and without a cache.
  - A bundle that is there already with the same content is left as it is. A directory with other
    files is refused.
  - Needs C(pip) and C(cyclonedx-python-lib) for Ansible's own Python.
  - Works with the variables that M(mcp_tunnels.stack.settings) has registered, as C(assemble) does.
  - Runs on the controller, without a connection.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: The content is archives.
options: {}
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Take the variables
  mcp_tunnels.stack.settings:
  register: __mcp_tunnel_settings
  no_log: true

- name: Assemble the bundle
  mcp_tunnels.stack.bundle:
"""

RETURN = r"""
path:
  description: Where the bundle is, or would be.
  returned: success
  type: str
  sample: /srv/mcp-tunnel/bundle
files:
  description: The names of the files in it.
  returned: success
  type: list
  elements: str
  sample: [SHA256SUMS, manifest.json, proxy-0.1.0-cp311-x86_64-0ba3b6e3.tar.gz, sbom.cdx.json]
problems:
  description: Everything that is wrong, with the remedy.
  type: list
  returned: failure
  elements: str
"""
