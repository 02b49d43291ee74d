#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: public_files
short_description: Reads small public files of one directory, in one call
version_added: 0.1.0
description:
  - Reads the certificates and names that a state directory or a replica keeps, and says by leaving
    them out which of them are not there.
  - A file that is there and cannot be read is a failure. It is not taken for missing, which would
    let another one be made in its place.
  - The content is returned. Never use this module for a secret.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  path:
    description: The directory.
    type: path
    required: true
  names:
    description: Names of the files in it, without a path.
    type: list
    elements: str
    default: []
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: What is stored
  mcp_tunnels.stack.public_files:
    path: /var/lib/mcp-tunnel/default
    names: [ca.crt, tunnel-id]
  register: stored
"""

RETURN = r"""
present:
  description: Whether the directory is there.
  returned: success
  type: bool
  sample: true
contents:
  description: Text of each file that is there, without white space around it.
  returned: success
  type: dict
  sample: {tunnel-id: tnl_01ABCDEF}
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError, run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.secret_files import read_file


def contents(path: str, names: list[str]) -> dict[str, str]:
    """Name to text of the files that are there.

    :raises TunnelError: if a name leads elsewhere, or something else than a file has it.
    """
    for name in names:
        if name in ("", ".", "..") or "/" in name:
            raise TunnelError("names", f"{name!r} is no name of a file", "Give it without a path")
    found = {name: read_file(os.path.join(path, name)) for name in names}
    return {
        name: content.decode("utf-8", "replace").strip()
        for name, content in found.items()
        if content is not None
    }


def look(path: str, names: list[str]) -> dict[str, Any]:
    """The module's result."""
    return {
        "changed": False,
        "present": os.path.isdir(path),
        "contents": contents(path, names),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            path=dict(type="path", required=True),
            names=dict(type="list", elements="str", default=[]),
        ),
        supports_check_mode=True,
    )
    run(module, lambda: look(**module.params))


if __name__ == "__main__":
    main()
