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
    private, public_path = (os.path.join(directory, name) for name in ("key", "key.pub"))
    for path in (*secret_files.leftovers(private), *secret_files.leftovers(public_path)):
        secret_files.remove_file(path)
    # The public key goes first and comes last: with it, the pair is complete.
    secret_files.remove_file(public_path)
    key = crypto.generate_key()
    secret_files.write_file(private, crypto.ssh_key(key), secret_files.private_attributes())
    public = crypto.ssh_public_key(key)
    secret_files.write_file(public_path, f"{public}\n".encode(), _attributes(_PUBLIC))
    return True, public


def _attributes(mode: int) -> secret_files.Attributes:
    return secret_files.Attributes(os.geteuid(), os.getegid(), mode)
