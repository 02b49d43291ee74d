# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last lines of an import: what was written, what to look at, and the next steps in order."""

from __future__ import annotations

import shlex
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import collection
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.deployment import Deployment
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.inventory import HOSTS, File


def told(
    src: str,
    root: Path,
    files: list[File],
    notes: list[str],
    fingerprint: str,
    deployment: Deployment,
) -> list[str]:
    """The lines.

    :param files: those that were written, or would be.
    :param fingerprint: that of the CA.
    """
    place = shlex.quote(str(root))
    names = ", ".join(str(file.path.relative_to(root)) for file in files)
    lines = [f"{root}: {names or 'nothing was to be written'}.", *notes]
    steps = [
        f"Compare the CA's fingerprint with the Console: {fingerprint}.",
        f"Name the hosts in {root / HOSTS}.",
        "Try from each host that the upstreams are reached, such as with: ansible -i "
        f"{place} mcp_tunnel -m ansible.builtin.wait_for -a 'host=HOST port=PORT timeout=9', "
        "with the vault password.",
        f"ansible-playbook -i {place} {collection.NAME}.site, with the vault password: the hosts "
        "become replicas beside the deployment.",
        f"ansible-playbook -i {place} {collection.NAME}.verify, with it: go on only when every row "
        "is ok.",
        *_stop(deployment),
        "Never run its setup component again: another token version rotates the token of these "
        "replicas as well.",
        f"Remove {src}: it has the CA's key and the token in clear.",
    ]
    return lines + [f"Next, {number}: {step}" for number, step in enumerate(steps, 1)]


def _stop(deployment: Deployment) -> list[str]:
    if deployment.is_of_kubernetes and not deployment.services:
        namespace = (deployment.namespaces or ["mcp-tunnel"])[0]
        return [
            "Only then, in a quiet minute, end the chart's Deployment (this is its usual name): "
            f"kubectl -n {namespace} scale deployment/mcp-tunnel --replicas=0. Keep its Secrets "
            "until there is a backup of the state here."
        ]
    return [
        "Only then, in the directory of each host with the deployment, stop the container of "
        f"cloudflared: docker compose stop --timeout 60 {_named(deployment, 'cloudflared')}. When "
        f"it has ended, stop the proxy: docker compose stop {_named(deployment, 'mcp-proxy')}.",
    ]


def _named(deployment: Deployment, usual: str) -> str:
    """The service with that word in its name, if it is one; else the name of the vendor's guide."""
    known = [name for name in deployment.services if usual in name]
    return known[0] if len(known) == 1 and usual not in deployment.services else usual
