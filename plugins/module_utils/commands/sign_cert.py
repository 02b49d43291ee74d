# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command mcp-tunnel-sign-cert: answers one question of a replica that renews.

systemd starts it on the state host for each connection to the signer's socket: with the connection
as standard input and output, as a user that exists for that time alone, and with the CA's key among
its credentials, or with the settings of the operator's signer that has it. It signs only for
members of the instance, and only with names and a lifetime that the state host itself says.
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import sys

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import check_instance
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.secret_files import read_file
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.state_files import StateFile
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import signing_channel
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.server_store import (
    Asked,
    ServerCertOptions,
    ready_to_sign,
    sign,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision import members
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.signer import (
    program,
    settings,
    sources,
)

_SECONDS = 10.0
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))


def main(arguments: list[str] | None = None) -> int:
    """Answers the question on standard input, logs what was done, and returns the exit status."""
    given = _parse(arguments)
    with socket.socket(fileno=os.dup(0)) as connection:
        sys.stderr.write(f"{given.instance}: {converse(connection, given)}\n")
    return 0


def converse(connection: socket.socket, given: argparse.Namespace) -> str:
    """Reads the question, answers it, and returns the line for the log."""
    asker = "a program on this host"
    try:
        asked = signing_channel.read_all(connection.fileno(), _SECONDS)
        question = signing_channel.parse_question(asked)
        asker = _member(question.member, _is_root(connection), given.state_host)
        answer, done = _answer(question, asker, given)
    except TunnelError as error:
        # Names in a request are whatever the replica has put there.
        done = f"refused: {signing_channel.one_line(str(error))}"
        told = error.for_replicas if isinstance(error, program.SignerError) else error
        answer = signing_channel.refusal(told)
    connection.settimeout(_SECONDS)
    try:
        connection.sendall(answer)
    except OSError as error:
        done += f" (it was not there any more to hear that: {error.strerror or error})"
    return f"{asker}: {done}"


def _is_root(connection: socket.socket) -> bool:
    size = _CREDENTIALS.size
    content = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(_CREDENTIALS.unpack(content)[1]) == 0


def _member(named: str, is_root: bool, state_host: str) -> str:
    """The replica that asks: root of this host in its own name, anybody else as was vouched for.

    :raises TunnelError: if nobody has said who asks.
    """
    if named or is_root:
        return named or state_host
    raise TunnelError("the question", "names no replica", "Run the site playbook on both hosts")


def _answer(
    question: signing_channel.Question, member: str, given: argparse.Namespace
) -> tuple[bytes, str]:
    """The answer, and the line for the log.

    :raises TunnelError: if nothing is signed for this member, or no such request.
    """
    directory = os.environ["CREDENTIALS_DIRECTORY"]
    content = read_file(os.path.join(directory, members.FILE))
    text = None if content is None else content.decode("utf-8", "replace")
    if member not in members.read(text, members.FILE).by_name:
        raise TunnelError(
            members.FILE,
            f"does not have {member}, so nothing is signed for it",
            "If it is a replica, run the site playbook on it",
        )
    options = ServerCertOptions(
        path=directory,
        domain=StateFile(directory, "tunnel-domain").read(),
        owner="root",
        group="root",
        mode="0640",
        duration=given.duration,
        renew_before=given.renew_before,
        routes=given.route,
        csr=question.request,
    )
    asked = Asked(given.instance, question.terms)
    signer = _signer(directory)
    if question.verb == signing_channel.CHECK:
        end = ready_to_sign(options, asked, is_own=signer is None)
        said = f"would ask {signer}" if signer else f"would sign until {end}"
        return signing_channel.answer(question.verb, said), said
    asker = sources.asker(signer, given.duration, directory) if signer else None
    signed = sign(options, check_mode=False, asked=asked, signer=asker)
    done = f"signed: fingerprint {signed['fingerprint']}, until {signed['not_after']}"
    return signing_channel.answer(question.verb, signed["certificate"]), done


def _signer(directory: str) -> settings.Signer | None:
    """The operator's signer; ``None`` if the CA's key is here.

    :raises TunnelError: if its settings are none.
    """
    content = read_file(os.path.join(directory, settings.FILE))
    if content is None:
        return None
    return settings.from_text(content.decode("utf-8", "replace"), settings.FILE)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mcp-tunnel-sign-cert",
        description="Signs the server certificate of a replica. systemd runs it.",
    )
    parser.add_argument("--instance", required=True, type=check_instance, help="the instance")
    parser.add_argument("--state-host", required=True, help="name of this host among the replicas")
    parser.add_argument("--renew-before", default="720h", help="when replicas renew")
    parser.add_argument("--duration", default="2160h", help="lifetime of a new certificate")
    parser.add_argument(
        "--route", action="append", default=[], help="key of a route of the proxy; repeatable"
    )
    return parser.parse_args(arguments)
