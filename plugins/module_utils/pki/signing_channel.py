# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The channel between a replica that renews and the signer on its state host.

One question, one answer, over one connection. A question is text: on a line of its own the replica
that asks, if somebody between the two vouches for its name; the verb; and with ``sign`` the request
(PEM). The end of the question is the end of the sender's half of the connection. An answer is
``MARK``, a word, and what belongs to it. Text without the mark is that of ssh, about a connection
that did not come about.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import time

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import (
    TunnelError,
    without_control,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown

SOCKETS = "/run/mcp-tunnel-signing"
"""Directory of the sockets, one for each instance: on the state host the signer's, else ssh's."""
MARK = "mcp-tunnel-signer: "
MOST_BYTES = 16384
"""Of a question, and of an answer: a request or certificate has at most 8 kB."""
CHECK, SIGN = "check", "sign"
_READY, _SIGNED, _REFUSED = "ready", "signed", "refused"
_QUESTION = re.compile(
    rf"(?:member ([A-Za-z0-9_.:-]{{1,255}})\n)?({CHECK}|{SIGN})\n"
    r"(-----BEGIN CERTIFICATE REQUEST-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE REQUEST-----\n)?"
)
_WORDS = {CHECK: _READY, SIGN: _SIGNED}
_LOOK = "Look at the logs of sshd and of mcp-tunnel-signing-* on the state host"
# What ssh says, and what to do about it.
_REMEDIES = (
    (
        r"[Hh]ost key verification failed|REMOTE HOST IDENTIFICATION",
        "The state host has another host key than at the last run. If that is right, run the site "
        "playbook, which brings the new one",
    ),
    (
        r"[Pp]ermission denied|Too many authentication failures|Received disconnect",
        "Run the site playbook. If that does not help, sshd of the state host does not let the "
        "account mcp-tunnel-signer in: see AllowUsers, AllowGroups, AuthorizedKeysFile, "
        "PubkeyAuthentication and UsePAM in its sshd_config",
    ),
    (
        r"timed out|refused|unreachable|No route|not resolve|reset by peer|closed by remote",
        "Let this replica reach the SSH port of the state host (mcp_tunnel_ssh_address, "
        "firewall_ssh_sources there). Where that must not be, set mcp_tunnel_cert_renew_timer: "
        "false, and schedule renew_cert.yml",
    ),
)


def socket_path(instance: str) -> str:
    """The socket at which a replica of *instance* asks."""
    return os.path.join(SOCKETS, instance)


def question(verb: str, request: str = "") -> bytes:
    """A question. *request* is PEM, with ``sign``."""
    return f"{verb}\n{request}".encode()


def on_behalf_of(member: str, asked: bytes) -> bytes:
    """The question of a replica whose name the sender vouches for."""
    return f"member {member}\n".encode() + asked


def parse_question(asked: bytes) -> tuple[str, str, str]:
    """The member (empty if nobody vouches for one), the verb and the request.

    :raises TunnelError: if it is no question.
    """
    try:
        text = asked.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    found = _QUESTION.fullmatch(text)
    if not found or bool(found[3]) != (found[2] == SIGN):
        raise TunnelError(
            "the question", "is none that is known here", "Run the site playbook on both hosts"
        )
    return found[1] or "", found[2], found[3]


def answer(verb: str, text: str) -> bytes:
    """The answer to a question that was fulfilled: a certificate, or words."""
    return f"{MARK}{_WORDS[verb]}\n{text}".encode()


def refusal(error: TunnelError) -> bytes:
    """The answer to a question that is refused."""
    parts = [shown(part, 1000) for part in (error.subject, error.problem, error.remedy)]
    return f"{MARK}{_REFUSED}\n{json.dumps(parts)}".encode()


def one_line(text: str) -> str:
    """Text of the other side as a part of a line: it makes no lines, and moves no cursor."""
    return shown(" ".join(without_control(text).split()), 1000)


def read_all(descriptor: int, seconds: float) -> bytes:
    """All that comes, until the other side has ended its half of the connection.

    :raises TunnelError: if it is too much, or has not ended in time.
    """
    deadline = time.monotonic() + seconds
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    content = b""
    while len(content) <= MOST_BYTES:
        left = deadline - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            raise TunnelError(
                "the other side", f"has not ended within {seconds:.0f} seconds", "Try it again"
            )
        try:
            part = os.read(descriptor, MOST_BYTES)
        except ConnectionResetError:
            part = b""
        if not part:
            return content
        content += part
    raise TunnelError(
        "the other side", f"has sent more than {MOST_BYTES} bytes", "Look at what runs there"
    )


def exchange(path: str, asked: bytes, seconds: float) -> bytes:
    """Asks at the socket *path*, and returns the answer as it comes.

    :raises TunnelError: if nobody listens there, or nothing comes in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(path)
        except OSError as error:
            raise TunnelError(
                path,
                f"cannot be asked: {error.strerror or error}",
                "Run the site playbook, which makes the units that listen there",
            ) from None
        try:
            connection.sendall(asked)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            # It has ended early, and perhaps said why.
            pass
        return read_all(connection.fileno(), seconds)


def ask(path: str, verb: str, request: str = "", seconds: float = 60) -> str:
    """Asks the signer, and returns the certificate that it has signed, or its words.

    :param seconds: for an answer.
    :raises TunnelError: if it refuses, or cannot be asked.
    """
    text = exchange(path, question(verb, request), seconds).decode("utf-8", "replace")
    before, mark, said = text.partition(MARK)
    word, _line_break, content = said.partition("\n")
    if not mark:
        raise _not_reached(before)
    if word == _WORDS[verb]:
        return content if verb == SIGN else one_line(content)
    raise _refused(content)


def _not_reached(words: str) -> TunnelError:
    """The error about a connection that did not come about, with the words of ssh."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    said = shown("; ".join(lines[-3:]), 500)
    remedy = next((each for known, each in _REMEDIES if re.search(known, words)), _LOOK)
    return TunnelError(
        "the signer of the state host",
        f"cannot be asked: {said.rstrip('.') or 'the connection ended without a word'}",
        remedy,
    )


def _refused(content: str) -> TunnelError:
    try:
        subject, problem, remedy = (one_line(str(part)) for part in json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return TunnelError("the signer of the state host", "gives an answer that is none", _LOOK)
    return TunnelError(f"on the state host, {subject}", problem, remedy)
