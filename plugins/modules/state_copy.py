#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: state_copy
short_description: Makes an encrypted copy of the state of an instance
version_added: 0.1.0
description:
  - The state directory of an instance (the CA with its key, the tunnel token, the list of replicas)
    becomes one archive, which is encrypted with age on the state host. Nothing of it leaves the
    host in clear.
  - With O(dest), the copy is put into a directory of the controller, unless the newest one there
    is of the same state and for the same recipients. Beside it lies a C(.json) that says what it
    is, without secrets. Without O(dest), the copy is returned.
  - A copy proves nothing of its maker, because anybody can encrypt for a recipient.
    M(mcp_tunnels.stack.state_restore) compares it with what the replicas trust.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: There is nothing to show but the name of a file.
options:
  path:
    description: The state directory of the instance.
    type: path
    required: true
  instance:
    description: Name of the instance.
    type: str
    required: true
  recipients:
    description: Public keys of age (C(age1…)), or of SSH (C(ssh-ed25519 …)).
    type: list
    elements: str
    required: true
  dest:
    description: Directory of the controller for the copy.
    type: path
  unless:
    description: Fingerprint of a state of which no copy is needed. With O(dest), found by itself.
    type: str
    default: ""
  made_at:
    description: The time for the manifest, that of the controller, which adds it.
    type: str
    default: ""
  made_by:
    description: The version of the collection, which the controller adds.
    type: str
    default: ""
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Back the state up
  mcp_tunnels.stack.state_copy:
    path: /var/lib/mcp-tunnel/default
    instance: default
    recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
    dest: /srv/backups
"""

RETURN = r"""
state:
  description: Fingerprint of the state, SHA-256 in hexadecimal.
  returned: success
  type: str
content:
  description: The copy as text. Empty if none was needed, and in check mode.
  returned: success, without O(dest)
  type: str
file:
  description: The copy on the controller.
  returned: success, with O(dest)
  type: str
sha256:
  description: SHA-256 of the copy; empty in check mode, unless there is one.
  returned: success
  type: str
made_at:
  description: When it was made.
  returned: success
  type: str
seen_at:
  description: When this task has seen it.
  returned: success
  type: str
recipients:
  description: SHA-256 that tells the recipients from others.
  returned: success
  type: str
tunnel_id:
  description: ID of the tunnel, empty if the state host does not know it.
  returned: success
  type: str
domain:
  description: Domain of the tunnel, empty likewise.
  returned: success
  type: str
ca_fingerprint:
  description: SHA-256 of the CA certificate, empty without a CA.
  returned: success
  type: str
"""

from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import (
    archive,
    encryption,
    recipients,
    state,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError, run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.quiet_module import QuietModule


def copy(options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """The module's result."""
    found = state.read_state(options["path"])
    if not found.files:
        raise TunnelError(
            options["path"],
            "is not there, or is empty, so there is no state to copy",
            "Run site.yml first, or name the state host (mcp_tunnel_state_host)",
        )
    keys = recipients.check_recipients(options["recipients"], "mcp_tunnel_backup_recipients")
    about = archive.describe(found, options["instance"], options["made_at"], options["made_by"])
    fingerprint = found.fingerprint()
    is_needed = fingerprint != options["unless"] and not check_mode
    return {
        "changed": False,
        "state": fingerprint,
        "content": encryption.encrypt(archive.pack(found, about), keys) if is_needed else "",
        "tunnel_id": about.tunnel_id,
        "domain": about.domain,
        "ca_fingerprint": about.ca_fingerprint,
    }


def main() -> None:
    module = QuietModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "instance": {"type": "str", "required": True},
            "recipients": {"type": "list", "elements": "str", "required": True},
            "dest": {"type": "path"},
            "unless": {"type": "str", "default": ""},
            "made_at": {"type": "str", "default": ""},
            "made_by": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    run(module, lambda: copy(module.params, module.check_mode))


if __name__ == "__main__":
    main()
