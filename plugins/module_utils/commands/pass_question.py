# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command mcp-tunnel-pass-question: hands the question of a replica to the signer of this host.

It is all that the account mcp-tunnel-signer may do over SSH: its authorized_keys name it, with the
member that a key belongs to. It holds no secret. A question goes on only when all of it is here, so
that one who sends slowly keeps nobody else from the signer.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import check_instance
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import signing_channel

_SECONDS = 15.0
_ANSWER_SECONDS = 45.0
"""A signer of the operator's own may take 30, see signer.program."""
_AT_ONCE = 2
"""Questions of one member that may be under way."""


def main(arguments: list[str] | None = None) -> int:
    """Hands on what is on standard input, and the answer to standard output."""
    given = _parse(arguments)
    try:
        if len(list(_of_the_same(given.instance, given.member))) > _AT_ONCE:
            raise TunnelError(given.member, signing_channel.TOO_OFTEN, "Try it later")
        asked = signing_channel.read_all(0, _SECONDS)
        path = signing_channel.socket_path(given.instance)
        answer = signing_channel.exchange(
            path, signing_channel.on_behalf_of(given.member, asked), _ANSWER_SECONDS
        )
    except TunnelError as error:
        answer = signing_channel.refusal(error)
    sys.stdout.buffer.write(answer)
    return 0


def _of_the_same(instance: str, member: str) -> Iterator[int]:
    """The processes of this account, this one among them, that hand on questions of the member."""
    wanted = [b"--instance", instance.encode(), b"--member", member.encode(), b""]
    for entry in os.scandir("/proc"):
        try:
            if entry.name.isdigit() and entry.stat().st_uid == os.getuid():
                with open(f"{entry.path}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                # Not the shell that sshd starts the command with: it has all of it as one word.
                if words[-len(wanted) :] == wanted:
                    yield int(entry.name)
        except OSError:
            continue  # It has ended.


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mcp-tunnel-pass-question",
        description="Hands the question of a replica to the signer. sshd runs it.",
    )
    parser.add_argument("--instance", required=True, type=check_instance, help="the instance")
    parser.add_argument("--member", required=True, help="the replica that asks")
    return parser.parse_args(arguments)
