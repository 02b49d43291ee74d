# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Public keys of SSH (RFC 4253, section 6.6) as hosts tell them: their only accepted forms."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files

PUBLIC_KEY = re.compile(
    r"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBB[A-Za-z0-9+/]{86}="
)
"""The key that a replica renews with: a point on P-256, uncompressed, without a comment."""
HOST_KEY = re.compile(
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) AAAA[A-Za-z0-9+/]{40,1400}={0,2}"
)
"""A public host key, without a comment."""
MOST_HOST_KEYS = 8


def read_public_key(directory: str) -> str:
    """The public key of the pair ``key`` and ``key.pub``; empty unless both are there."""
    if secret_files.lstat(os.path.join(directory, "key")) is None:
        return ""
    content = secret_files.read_file(os.path.join(directory, "key.pub")) or b""
    text = content.decode("ascii", "replace").strip()
    return text if PUBLIC_KEY.fullmatch(text) else ""


def host_keys(directory: Path = Path("/etc/ssh")) -> list[str]:
    """The public host keys of this host's sshd, in the places where it makes them (sshd(8))."""
    found = []
    for path in sorted(directory.glob("ssh_host_*_key.pub")):
        words = path.read_text(encoding="ascii", errors="replace").split()
        text = " ".join(words[:2])
        if HOST_KEY.fullmatch(text):
            found.append(text)
    return found[:MOST_HOST_KEYS]
