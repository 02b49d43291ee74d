#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: repository_key
short_description: Gets the signing key of a package repository and compares its fingerprint
version_added: 0.1.0
description:
  - Downloads an OpenPGP public key on the controller and fails unless its fingerprint is the
    given one.
  - Nothing else than the file's primary key may be in it.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  url:
    description: Where the key is.
    type: str
    required: true
  fingerprint:
    description: Fingerprint that the key must have, 40 hexadecimal digits; spaces are ignored.
    type: str
    required: true
  bundle:
    description: Path of a bundle on the controller that has the key. Nothing is downloaded then.
    type: path
    default: ""
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Get the key of the vendor's repository
  mcp_tunnels.stack.repository_key:
    url: https://pkg.cloudflare.com/cloudflare-public-v2.gpg
    fingerprint: CC94B39C77AE7342A68B89628A682D308D4E5E73
  register: key
"""

RETURN = r"""
armored:
  description: The key in its text form, as package managers read it.
  returned: success
  type: str
  sample: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n..."
"""
