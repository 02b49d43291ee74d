#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: stored_token
short_description: Reads the stored tunnel token
version_added: 0.1.0
description:
  - Reads the tunnel token that M(mcp_tunnels.stack.tunnel_token) keeps on the state host, decrypts
    it if it is encrypted, and returns it if it is one. Use it with C(no_log=true) only.
  - The host may answer anything, and the token is written on every replica. So it is checked on the
    controller.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  path:
    description: File with the token.
    type: path
    required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Read the stored token
  mcp_tunnels.stack.stored_token:
    path: /var/lib/mcp-tunnel/default/tunnel-token
  register: stored
  no_log: true
"""

RETURN = r"""
token:
  description: The token, without white space around it. A secret.
  returned: success
  type: str
"""

import base64
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError, run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.quiet_module import QuietModule


def read(path: str) -> dict[str, Any]:
    """The file's content in Base64, for the action plugin, which judges it."""
    content = at_rest.read_secret(path)
    if content is None:
        raise TunnelError(path, "is not there", "Give the tunnel token anew")
    return {"changed": False, "content": base64.b64encode(content).decode()}


def main() -> None:
    module = QuietModule(
        argument_spec={"path": {"type": "path", "required": True}}, supports_check_mode=True
    )
    run(module, lambda: read(module.params["path"]))


if __name__ == "__main__":
    main()
