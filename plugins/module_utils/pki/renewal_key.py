# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key with which a replica asks its state host for a certificate, over SSH.

Made on the replica; only the public key leaves it. ECDSA on P-256, which sshd takes everywhere,
also where only the algorithms of FIPS 186 are left.
"""

from __future__ import annotations

import os

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.ssh_keys import (
    read_public_key,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto

_PUBLIC = 0o644
_DIRECTORY = 0o755


def ensure(directory: str, check_mode: bool) -> tuple[bool, str]:
    """Makes ``key`` and ``key.pub`` in *directory*; returns whether it did, and the public key.

    In check mode, the public key of a pair that is still to be made is empty.
    """
    known = read_public_key(directory)
    if known or check_mode:
        return not known, known
    os.makedirs(os.path.dirname(directory), _DIRECTORY, exist_ok=True)
    if secret_files.lstat(directory) is None:
        secret_files.make_directory(directory, _attributes(_DIRECTORY))
    key = crypto.generate_key()
    # The public key last: with it, the pair is complete.
    private = os.path.join(directory, "key")
    secret_files.write_file(private, crypto.ssh_key(key), secret_files.private_attributes())
    public = crypto.ssh_public_key(key)
    content = f"{public}\n".encode()
    secret_files.write_file(os.path.join(directory, "key.pub"), content, _attributes(_PUBLIC))
    return True, public


def _attributes(mode: int) -> secret_files.Attributes:
    return secret_files.Attributes(os.geteuid(), os.getegid(), mode)
