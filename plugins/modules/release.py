#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release
short_description: Ships a release from the controller to a host
version_added: 0.1.0
description:
  - Makes the release of one part of the tunnel stack available on a host, unpacked beside the
    running one and not active.
  - The controller has it in a bundle or assembles it, so that the host needs no Internet access.
    What was assembled is kept in C(~/.cache/mcp_tunnels.stack), or below E(XDG_CACHE_HOME).
  - Nothing is assembled, downloaded or transferred when the host has the release already. In check
    mode nothing is transferred, but the release is assembled or downloaded.
  - The proxy's release consists of the source that comes with this collection and wheels with
    pinned hashes, which C(pip) on the controller fetches for the host's Python and architecture.
    Configure its index, or a directory of wheels, as for any C(pip), for example with
    E(PIP_INDEX_URL) or E(PIP_FIND_LINKS).
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: A release has no content that could be shown as a difference.
options:
  part:
    description: The part to ship.
    type: str
    required: true
    choices: [proxy, cloudflared]
  architecture:
    description: The host's machine, as C(uname -m) prints it.
    type: str
    required: true
    choices: [x86_64, aarch64]
  python_version:
    description: Full version of the host's C(/usr/bin/python3). Required with O(part=proxy).
    type: str
  method:
    description:
      - Where cloudflared comes from. Required with O(part=cloudflared).
      - With V(url) it is downloaded by the controller and must have the pinned SHA-256.
      - With V(file) it is a file on the controller.
      - With V(package) it is C(/usr/bin/cloudflared) of a package that the host has installed.
    type: str
    choices: [url, file, package]
  version:
    description: Version of cloudflared. Required with O(method=url).
    type: str
  download_url:
    description: Address below which the vendor's releases are found. Required with O(method=url).
    type: str
  checksums:
    description: SHA-256 of the download for each architecture, for versions that this collection
      does not pin.
    type: dict
    default: {}
  binary_file:
    description: Path of the binary on the controller. Required with O(method=file).
    type: path
  binary_sha256:
    description: SHA-256 that O(binary_file) must have.
    type: str
    default: ""
  active:
    description:
      - Version that is active on the host and complete, as M(mcp_tunnels.stack.host_check) has seen
        in this run. When it is the wanted one, the host is not asked again.
    type: str
  unpacked:
    description:
      - All versions that are complete on the host, as M(mcp_tunnels.stack.host_check) has seen in
        this run. A release that is not among them is shipped at once.
      - Without, the host is asked first whether it has the release.
    type: list
    elements: str
  bundle:
    description:
      - Path of a bundle on the controller, which C(mcp_tunnels.stack.assemble) has made. It is then
        the only place of the release, except for a binary of O(method=file).
      - Without, the release comes from C(/usr/share/mcp_tunnels.stack/bundle) if that has it, or
        from the controller's cache, or is made.
    type: path
    default: ""
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Ship the proxy
  mcp_tunnels.stack.release:
    part: proxy
    architecture: x86_64
    python_version: 3.11.2
    active: "{{ host.facts.releases.proxy | default(omit) }}"
    unpacked: "{{ host.facts.unpacked.proxy }}"
  register: proxy_release

- name: Ship cloudflared
  mcp_tunnels.stack.release:
    part: cloudflared
    architecture: x86_64
    method: url
    version: 2026.10.0
    download_url: https://github.com/cloudflare/cloudflared/releases/download
  register: cloudflared_release
"""

RETURN = r"""
present:
  description: Whether the release is on the host now. It is not when check mode would have
    shipped it.
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
