#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: support
short_description: Collects from a replica what support needs, and fetches it
version_added: 0.1.0
description:
  - "Makes one archive on the host, as C(mcp-tunnel support) does: redacted configuration, states of
    the units, journals, metrics, rules with counters, diagnostics of cloudflared, and a manifest."
  - Before the archive leaves the host, it is searched for the host's secrets in every coding. A
    file that holds one is left out and named in RV(secrets). Lines in the form of any other secret
    are blanked, and counted in RV(blanked).
  - The controller treats the archive as data of somebody else. It bounds its size, unpacks nothing,
    and uses no path or name that the host says.
  - Works with the host's own Python, also where the proxy's release is missing or broken.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  check_mode:
    support: full
    description: Asks no host, and says where the archive would be.
  diff_mode:
    support: none
    description: There is nothing to show.
options:
  instance:
    description: Name of the instance.
    type: str
    required: true
  dest:
    description:
      - Absolute path of a directory on the controller, which is made if it is missing. No other
        user may be able to write there.
      - Each archive has the name of its host and the time.
      - Every task has to give it. The host does not get it.
    type: path
  evidence_of:
    description:
      - For evidence of a breach, the fact C(identity) of the host
        (M(mcp_tunnels.stack.host_check)), empty if it does not say it. The name of the archive then
        has C(breach) and that in it. The host does not get it. It is collected also where the
        instance was removed.
    type: str
  removed:
    description:
      - Whether the instance may have been removed from the host. The rest of it is collected then.
        The action plugin sets it for evidence of a breach; leave it out.
    type: bool
    default: false
  state:
    description:
      - The part of the work that is asked of the host. The action plugin sets it in each of its
        questions; leave it out.
    type: str
    choices: [made, read, absent]
    default: made
  offset:
    description: First byte to read, with O(state=read).
    type: int
    default: 0
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Fetch what support needs
  mcp_tunnels.stack.support:
    instance: default
    dest: /srv/support
  register: fetched
"""

RETURN = r"""
path:
  description: The archive on the controller.
  returned: success
  type: str
  sample: /srv/support/replica1.example.net-20261129T050112Z.tar.gz
size:
  description: Bytes of the archive.
  returned: success and not in check mode
  type: int
sha256:
  description: SHA-256 of the archive, in hexadecimal, which the controller has compared.
  returned: success and not in check mode
  type: str
left_out:
  description: Files that are not in the archive, each with the reason.
  returned: success and not in check mode
  type: list
  elements: dict
  contains:
    name:
      description: Its name in the archive.
      type: str
    why:
      description: The reason.
      type: str
secrets:
  description: Names of the files that were left out because they held a secret.
  returned: success and not in check mode
  type: list
  elements: str
blanked:
  description:
    - Files of which lines were blanked, because they had the form of a key or a token that is none
      of the host's own.
  returned: success and not in check mode
  type: list
  elements: dict
  contains:
    name:
      description: Its name in the archive.
      type: str
    lines:
      description: The number of these lines.
      type: int
"""

import base64
import hashlib
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError, run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import (
    check_instance,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.lease import Lease
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.deployed import (
    check_deployed,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support import archive, transfer


def make(instance: str, removed: bool = False) -> dict[str, Any]:
    """Makes the archive and keeps it on the host until it was read.

    :param removed: whether the instance may be gone, with what is left of it in the archive.
    :raises TunnelError: if it is no name of an instance, or there is no such one and has to be.
    """
    made = archive.make([check_instance(instance) if removed else check_deployed(instance)])
    attributes = secret_files.private_attributes()
    # Another instance of this host may be asked at the same time, and its answer remove the
    # directory.
    with Lease(instance).alone():
        secret_files.ensure_private_directory(transfer.DIRECTORY, check_mode=False)
        secret_files.write_file(transfer.path(instance), made.content, attributes)
    return {
        "changed": True,
        "size": len(made.content),
        "sha256": hashlib.sha256(made.content).hexdigest(),
        "left_out": [
            {"name": item["name"], "why": item["why"]} for item in made.manifest["left_out"]
        ],
        "secrets": made.secrets,
        "blanked": made.manifest["blanked"],
    }


def read(instance: str, offset: int) -> dict[str, Any]:
    """A part of the archive.

    :raises TunnelError: if there is none.
    """
    content = secret_files.read_file(transfer.path(instance))
    if content is None:
        raise TunnelError(transfer.path(instance), "is not there any more", "Run support.yml again")
    part = content[offset : offset + transfer.PART]
    return {"changed": False, "content": base64.b64encode(part).decode()}


def remove(instance: str) -> dict[str, Any]:
    """Removes the archive, and the directory if no other is in it."""
    path = transfer.path(instance)
    with Lease(instance).alone():
        changed = secret_files.lstat(path) is not None
        if changed:
            secret_files.remove_file(path)
        if os.path.isdir(transfer.DIRECTORY) and not os.listdir(transfer.DIRECTORY):
            os.rmdir(transfer.DIRECTORY)
    return {"changed": changed}


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            instance=dict(type="str", required=True),
            dest=dict(type="path"),
            evidence_of=dict(type="str"),
            removed=dict(type="bool", default=False),
            state=dict(type="str", choices=["made", "read", "absent"], default="made"),
            offset=dict(type="int", default=0),
        ),
        supports_check_mode=True,
    )
    instance, state = module.params["instance"], module.params["state"]

    def act() -> dict[str, Any]:
        if module.check_mode:
            return {"changed": state == "made"}
        if state == "made":
            return make(instance, module.params["removed"])
        if state == "read":
            return read(instance, module.params["offset"])
        return remove(instance)

    run(module, act)


if __name__ == "__main__":
    main()
