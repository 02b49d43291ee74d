#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: state_restore
short_description: Puts the state of an instance back from a copy
version_added: 0.1.0
description:
  - Decrypts a copy that M(mcp_tunnels.stack.state_copy) has made, judges it, and puts the state
    into its directory on the state host, in one step. No API is called.
  - The copy is decrypted on the controller, so the identity does not leave it. What travels is the
    state, to the host that it belongs on; it is written nowhere else.
  - "Refused before anything is changed: a copy of another tunnel or instance, of a later format,
    damaged, or for other recipients; one without the CA that each replica trusts, where a CA
    counts only with its key; a state host with another state; a connection that would put the state
    into temporary files."
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
options:
  path:
    description: The state directory of the instance.
    type: path
    required: true
  instance:
    description: Name of the instance.
    type: str
    required: true
  identity_file:
    description:
      - File of the controller with the private key, of age-keygen or of type ssh-ed25519. A task
        without it is refused on the controller.
    type: path
  file:
    description: The copy, a file of the controller.
    type: path
  copies:
    description:
      - Instead of O(file), the files that M(mcp_tunnels.stack.public_files) has read on each
        replica, by replica, with C(state.age), the copy that it keeps. The newest one that fits is
        taken.
    type: dict
    default: {}
  domain:
    description: Domain of the tunnel, if it is known.
    type: str
    default: ""
  tunnel_id:
    description: ID of the tunnel, if it is known.
    type: str
    default: ""
  trusted:
    description:
      - The files that M(mcp_tunnels.stack.public_files) has read on each replica, by replica, with
        C(ca.crt), the CA certificate that it trusts.
    type: dict
    default: {}
  needed:
    description:
      - Whether it is a failure if there is no copy. If not, RV(restored) is V(false). Copies of
        which none fits are always one.
    type: bool
    default: true
  encryption:
    description:
      - How the secrets of the state are on the disk, see
        O(mcp_tunnels.stack.file_set#module:entries[].encryption). V(auto) is V(host) where systemd
        can encrypt, and V(none) elsewhere. A state that is there already stays as it is.
    type: str
    choices: [none, host, tpm2, auto]
    default: none
  files:
    description: The state, as the controller sends it to the host.
    type: dict
    default: {}
  made_at:
    description: When the copy was made, as the controller has read in it.
    type: str
    default: ""
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Put the state back
  mcp_tunnels.stack.state_restore:
    path: /var/lib/mcp-tunnel/default
    instance: default
    identity_file: /root/backup-identity.txt
    file: /srv/backups/default-20261129T050000Z.age
"""

RETURN = r"""
restored:
  description: Whether the state host has the state of a copy now, or would have.
  returned: success
  type: bool
source:
  description: The copy that was taken, a file or the host that has kept it.
  returned: when RV(restored)
  type: str
vouchers:
  description: The replicas that trust its CA, without the one that has kept it.
  returned: when RV(restored)
  type: list
  elements: str
made_at:
  description: When it was made.
  returned: when RV(restored)
  type: str
tunnel_id:
  description: ID of the tunnel, empty if the copy does not know it.
  returned: when RV(restored)
  type: str
domain:
  description: Domain of the tunnel, empty likewise.
  returned: when RV(restored)
  type: str
ca_fingerprint:
  description: SHA-256 of the CA certificate in it.
  returned: when RV(restored)
  type: str
replicas:
  description: The replicas that the copy knows.
  returned: when RV(restored)
  type: list
  elements: str
reasons:
  description: Why other copies were not taken.
  returned: when RV(restored)
  type: list
  elements: str
about:
  description: The same for people, a line for each thing.
  returned: when RV(restored)
  type: list
  elements: str
"""

import base64
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.restore import restore
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.state import State
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.quiet_module import QuietModule


def main() -> None:
    text, texts = {"type": "str", "default": ""}, {"type": "dict", "default": {}}
    module = QuietModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "instance": {"type": "str", "required": True},
            # The controller has used these, and keeps them.
            "identity_file": {"type": "path"},
            "file": {"type": "path"},
            "copies": texts,
            "domain": text,
            "tunnel_id": text,
            "trusted": texts,
            "needed": {"type": "bool", "default": True},
            "files": {"type": "dict", "default": {}, "no_log": True},
            "made_at": text,
            "encryption": {"type": "str", "choices": list(at_rest.CHOICES), "default": "none"},
        },
        supports_check_mode=True,
    )
    options: dict[str, Any] = module.params

    def put() -> dict[str, Any]:
        wanted = State({n: base64.b64decode(v) for n, v in options["files"].items()})
        form = at_rest.resolve(options["encryption"])
        return restore(options["path"], wanted, options["made_at"], module.check_mode, form)

    run(module, put)


if __name__ == "__main__":
    main()
