# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replicas that may ask the signer of this host over SSH: lines of its account's sshd(8) file.

The file has the lines of every instance whose state host this machine is. A line lets its key do
one thing: hand on a question in the name of its member.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.ssh_keys import PUBLIC_KEY

FILE = "/etc/mcp-tunnel-signer/.ssh/authorized_keys"
COMMAND = "/opt/mcp-tunnel/proxy/current/bin/mcp-tunnel-pass-question"
_LINE = re.compile(
    r'restrict,command="'
    + re.escape(COMMAND)
    + r' --instance ([a-z0-9-]{1,32}) --member ([A-Za-z0-9_.:-]{1,255})" ('
    + PUBLIC_KEY.pattern
    + ")"
)


class Signatories:
    """The file, of which one *instance* has a part."""

    def __init__(self, instance: str, path: str = FILE) -> None:
        self._instance = instance
        self._path = path

    def ensure(self, keys: Mapping[str, str], members: Collection[str], check_mode: bool) -> bool:
        """Lets exactly these *members* ask; returns whether that is a change.

        :param keys: member to its public key. A member without one keeps the line that it has.
        :raises TunnelError: if one has the key of another, also of another instance, which says
            no more who asks: sshd goes by the first line of a key.
        """
        before = self._lines()
        kept = {name: key for (instance, name), key in before.items() if instance == self._instance}
        known = {**kept, **{name: key for name, key in keys.items() if key}}
        after = {pair: key for pair, key in before.items() if pair[0] != self._instance}
        after.update({(self._instance, name): known[name] for name in members if name in known})
        _check_own_keys(self._instance, after)
        content = _text(after)
        if content == (secret_files.read_file(self._path) or b"") and self._is_public():
            return False
        if not check_mode:
            self._write(content)
        return True

    def forget(self, names: Collection[str] | None, check_mode: bool = False) -> bool:
        """Removes the lines of these members, or those of all; returns whether there were any."""
        before = self._lines()
        mine = {pair for pair in before if pair[0] == self._instance}
        gone = {pair for pair in mine if names is None or pair[1] in names}
        if gone and not check_mode:
            self._write(_text({pair: key for pair, key in before.items() if pair not in gone}))
        return bool(gone)

    def _lines(self) -> dict[tuple[str, str], str]:
        """Instance and member to the key. Anything else in the file is not ours, and goes."""
        content = (secret_files.read_file(self._path) or b"").decode("ascii", "replace")
        found = (_LINE.fullmatch(line) for line in content.splitlines())
        return {(line[1], line[2]): line[3] for line in found if line}

    def _is_public(self) -> bool:
        status = secret_files.lstat(self._path)
        return status is None or _attributes().match(status)

    def _write(self, content: bytes) -> None:
        if not content:
            secret_files.remove_file(self._path)
            return
        directory = os.path.dirname(self._path)
        for path in (os.path.dirname(directory), directory):
            if secret_files.lstat(path) is None:
                secret_files.make_directory(
                    path, secret_files.Attributes(os.geteuid(), os.getegid(), 0o755)
                )
        secret_files.write_file(self._path, content, _attributes())


def _check_own_keys(mine: str, keys: Mapping[tuple[str, str], str]) -> None:
    """Refuses a key of two members: of a copied disk, or of one that takes another's name.

    :raises TunnelError: naming both.
    """
    owners: dict[str, tuple[str, str]] = {}
    for pair, key in sorted(keys.items()):
        other = owners.setdefault(key, pair)
        if other != pair and mine in (other[0], pair[0]):
            owner, name = (f"{member} of {instance}" for instance, member in (other, pair))
            raise TunnelError(
                FILE,
                f"would have one key for {owner} and {name}, so nobody could tell who asks",
                "Remove the directory renewal of the instance, below /etc/mcp-tunnel, on the one "
                "whose disk is a copy, and run the site playbook on both",
            )


def _attributes() -> secret_files.Attributes:
    return secret_files.Attributes(os.geteuid(), os.getegid(), 0o644)


def _text(lines: Mapping[tuple[str, str], str]) -> bytes:
    return "".join(
        f'restrict,command="{COMMAND} --instance {instance} --member {member}" {key}\n'
        for (instance, member), key in sorted(lines.items())
    ).encode()
