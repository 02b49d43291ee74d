#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: renewal_key
short_description: Makes the key with which a replica asks its state host for certificates
version_added: 0.1.0
description:
  - The key is a key pair for SSH. It is made on the replica, and the private key stays there. The
    public key becomes a line of the state host, see M(mcp_tunnels.stack.state_host).
  - A pair that is there stays as it is. To replace it, remove its directory and run the site
    playbook.
  - Needs the library C(cryptography), as the interpreter of the proxy's release has it.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: A key is nothing to show.
options:
  path:
    description: Directory of C(key) and C(key.pub). It is made, and those above it.
    type: path
    required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Make the key
  mcp_tunnels.stack.renewal_key:
    path: /etc/mcp-tunnel/default/renewal
  register: key
"""

RETURN = r"""
public_key:
  description: The public key, without a comment. Empty in check mode, when it is still to be made.
  returned: success
  type: str
  sample: ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBB...
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import renewal_key


def main() -> None:
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "required": True}}, supports_check_mode=True
    )

    def ensure() -> dict[str, Any]:
        path = secret_files.absolute_path(module.params["path"])
        changed, public_key = renewal_key.ensure(path, module.check_mode)
        return {"changed": changed, "public_key": public_key}

    run(module, ensure)


if __name__ == "__main__":
    main()
