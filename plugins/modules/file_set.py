#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: file_set
short_description: Makes and removes many files, directories and links of a host in one call
version_added: 0.1.0
description:
  - Brings a list of files, directories, symbolic links and absences to their wanted state, in the
    given order.
  - Every entry is checked before the first one is written.
  - A file is written as a temporary file beside its destination, gets its owner and permissions, is
    synced to disk and then renamed, so that no reader ever sees half a file, or a secret with the
    wrong permissions.
  - A symbolic link at the destination of a file is replaced, never followed.
  - ACLs and extended attributes of a replaced file are not kept.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
options:
  entries:
    description: The files, directories, links and absences.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path. Its parent directory must exist or be an earlier entry.
        type: path
        required: true
      state:
        description:
          - The wanted kind of entry.
          - With V(absent) a directory is removed with everything in it.
        type: str
        choices: [file, directory, link, absent]
        default: file
      only_empty:
        description:
          - With O(entries[].state=absent), removes nothing but a directory without anything in it,
            which belongs to the user of the module. Everything else stays as it is.
        type: bool
        default: false
      backup:
        description:
          - With O(entries[].state=link), whether anything but a link that is in the way gets the
            name of a numbered backup (C(<path>.~1~)). Without it, that is an error.
        type: bool
        default: false
      content:
        description: Content of a file, shown in diffs. Exactly one of this and
          O(entries[].secret_content) is needed.
        type: str
      secret_content:
        description: Content of a file, shown nowhere.
        type: str
      encryption:
        description:
          - How O(entries[].secret_content) is on the disk. V(none) is in clear, V(host) encrypted
            by systemd with the host's key (C(/var/lib/systemd/credential.secret)), V(tpm2) with a
            key of its TPM. The encrypted credential has the name of the file, for
            C(LoadCredentialEncrypted=).
          - A file that holds the same secret in the same form is not changed. One that cannot be
            decrypted is replaced.
        type: str
        choices: [none, host, tpm2]
        default: none
      target:
        description: Where a link points to. Required with O(entries[].state=link).
        type: str
      owner:
        description: Owner of a file or directory.
        type: str
        default: root
      group:
        description: Group of a file or directory.
        type: str
        default: root
      mode:
        description: Permissions, four octal digits in quotes. Required for files and directories.
        type: str
  sysusers:
    description:
      - Files of sysusers.d(5), each by its name without the suffix. They are written to
        C(/etc/sysusers.d) before the first entry, and systemd-sysusers(8) makes the users and
        groups that are missing, so that entries may name them as owners. A task that gives any
        counts as a change.
    type: dict
    default: {}
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Configure one instance
  mcp_tunnels.stack.file_set:
    entries:
      - path: /etc/mcp-tunnel/default
        state: directory
        mode: "0755"
      - path: /etc/mcp-tunnel/default/proxy.yaml
        content: "{{ mcp_tunnel_plan.proxy_config }}"
        group: mcp-proxy
        mode: "0640"
      - path: /etc/mcp-tunnel/default/tunnel-token
        secret_content: "{{ token.content | ansible.builtin.b64decode }}"
        mode: "0600"
      - path: /opt/mcp-tunnel/cloudflared/current
        state: link
        target: 2026.10.0
  register: files
"""

RETURN = r"""
changed_paths:
  description: Paths of the entries that were changed, or that would be changed in check mode.
  returned: success
  type: list
  elements: str
  sample: ["/etc/mcp-tunnel/default/proxy.yaml"]
"""

from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.at_rest import FORMS
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.quiet_module import QuietModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.file_entries import (
    ensure_entries,
    ensure_users,
)


def main() -> None:
    module = QuietModule(
        argument_spec={
            "entries": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "state": {
                        "type": "str",
                        "choices": ["file", "directory", "link", "absent"],
                        "default": "file",
                    },
                    "only_empty": {"type": "bool", "default": False},
                    "backup": {"type": "bool", "default": False},
                    "content": {"type": "str"},
                    "secret_content": {"type": "str", "no_log": True},
                    "encryption": {"type": "str", "choices": list(FORMS), "default": "none"},
                    "target": {"type": "str"},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str"},
                },
                "mutually_exclusive": [("content", "secret_content")],
                "required_if": [
                    ("state", "file", ["mode"]),
                    ("state", "file", ["content", "secret_content"], True),
                    ("state", "directory", ["mode"]),
                    ("state", "link", ["target"]),
                ],
            },
            "sysusers": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    run(module, lambda: _ensure(module.params, module.check_mode))


def _ensure(options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    results = [ensure_users(options["sysusers"], check_mode)] if options["sysusers"] else []
    results.append(ensure_entries(options["entries"], check_mode))
    return {
        "changed": any(each["changed"] for each in results),
        "changed_paths": [path for each in results for path in each["changed_paths"]],
        "diff": [diff for each in results for diff in each["diff"]],
    }


if __name__ == "__main__":
    main()
