# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The channel between a replica that renews and the signer on its state host.

One question, one answer, over one connection. A question is text: on a line of its own the replica
that asks, if somebody between the two vouches for its name; the verb; the terms of the certificate,
which older releases do not say; and with ``sign`` the request (PEM). The end of the question is the
end of the sender's half of the connection. An answer is ``MARK``, a word, and what belongs to it.
Text without the mark is that of ssh, about a connection that did not come about.
"""

from __future__ import annotations

import json
import os
import random
import re
import select
import socket
import time
from dataclasses import dataclass, replace

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import (
    TunnelError,
    without_control,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import terms as pki_terms

SOCKETS = "/run/mcp-tunnel-signing"
"""Directory of the sockets, one for each instance: on the state host the signer's, else ssh's."""
MARK = "mcp-tunnel-signer: "
MOST_BYTES = 16384
"""Of a question, and of an answer: a request or certificate has at most 8 kB."""
CHECK, SIGN = "check", "sign"
_READY, _SIGNED, _REFUSED = "ready", "signed", "refused"
_QUESTION = re.compile(
    rf"(?:member (?P<member>[A-Za-z0-9_.:-]{{1,255}})\n)?(?P<verb>{CHECK}|{SIGN})\n"
    rf"(?P<terms>{pki_terms.PATTERN})?"
    r"(?P<request>-----BEGIN CERTIFICATE REQUEST-----\n[A-Za-z0-9+/=\n]+"
    r"-----END CERTIFICATE REQUEST-----\n)?"
)
_NO_QUESTION = "is none that is known here"
TOO_OFTEN = "asks more often than its questions are answered"
"""The problem of a member whose questions are not handed on at the moment."""
_PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt, on average."""
_WORDS = {CHECK: _READY, SIGN: _SIGNED}
_LOOK = "Look at the logs of sshd and of mcp-tunnel-signing-* on the state host"
# The words of ssh where another attempt may help: many replicas ask at once, and sshd lets no more
# in (MaxStartups, PerSourcePenalties), or it is about to start. No words at all come from systemd,
# which runs a limited number of signers.
_BUSY = re.compile(
    r"Connection (?:refused|reset|closed)|closed by remote|MaxStartups|Not allowed at this time"
)
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


class Busy(TunnelError):
    """The signer could not be asked at the moment."""


class _Older(TunnelError):
    """The signer is of a release that knows no such question."""


@dataclass(frozen=True)
class Question:
    """A question.

    :param request: the request (PEM), with ``sign``.
    :param terms: the terms of the certificate; ``None`` if the replica does not say them.
    :param member: the replica whose name somebody vouches for; empty if nobody does.
    """

    verb: str
    terms: pki_terms.Terms | None = None
    request: str = ""
    member: str = ""

    def coded(self) -> bytes:
        """The question as it is sent, without the member."""
        return f"{self.verb}\n{self.terms.text() if self.terms else ''}{self.request}".encode()


def socket_path(instance: str) -> str:
    """The socket at which a replica of *instance* asks."""
    return os.path.join(SOCKETS, instance)


def on_behalf_of(member: str, asked: bytes) -> bytes:
    """The question of a replica whose name the sender vouches for."""
    return f"member {member}\n".encode() + asked


def parse_question(asked: bytes) -> Question:
    """The question in these bytes.

    :raises TunnelError: if it is no question.
    """
    try:
        text = asked.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    found = _QUESTION.fullmatch(text)
    if not found or bool(found["request"]) != (found["verb"] == SIGN):
        raise TunnelError("the question", _NO_QUESTION, "Run the site playbook on both hosts")
    terms = pki_terms.read(found["terms"] or "")
    return Question(found["verb"], terms, found["request"] or "", found["member"] or "")


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


def ask(path: str, question: Question, seconds: float = 60) -> str:
    """Asks the signer, and returns the certificate that it has signed, or its words.

    One that cannot be asked at the moment is asked again, later each time.

    :param seconds: for an answer, further attempts among them.
    :raises TunnelError: if it refuses, or cannot be asked.
    """
    deadline = time.monotonic() + seconds
    for pause in _PAUSES:
        try:
            return _ask_any(path, question, deadline)
        except Busy:
            # Not all at once again.
            pause *= random.uniform(0.5, 1.5)  # noqa: S311
            if time.monotonic() + pause >= deadline:
                raise
            time.sleep(pause)
    return _ask_any(path, question, deadline)


def _ask_any(path: str, question: Question, deadline: float) -> str:
    """Asks a signer of this release, or of an older one, which knows no terms."""
    try:
        return _ask_once(path, question, deadline)
    except _Older:
        if question.terms is None:
            raise
    said = _ask_once(path, replace(question, terms=None), deadline)
    if question.verb == SIGN:
        return said
    return f"{said}; its release is older than this one, and compares no settings"


def _ask_once(path: str, question: Question, deadline: float) -> str:
    left = max(deadline - time.monotonic(), 0.1)
    text = exchange(path, question.coded(), left).decode("utf-8", "replace")
    before, mark, said = text.partition(MARK)
    word, _line_break, content = said.partition("\n")
    if not mark:
        raise _not_reached(before)
    if word == _WORDS[question.verb]:
        return content if question.verb == SIGN else one_line(content)
    raise _refused(content)


def _not_reached(words: str) -> TunnelError:
    """The error about a connection that did not come about, with the words of ssh."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    said = shown("; ".join(lines[-3:]), 500)
    remedy = next((each for known, each in _REMEDIES if re.search(known, words)), _LOOK)
    kind = Busy if not lines or _BUSY.search(words) else TunnelError
    return kind(
        "the signer of the state host",
        f"cannot be asked: {said.rstrip('.') or 'the connection ended without a word'}",
        remedy,
    )


def _refused(content: str) -> TunnelError:
    try:
        subject, problem, remedy = (one_line(str(part)) for part in json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return TunnelError("the signer of the state host", "gives an answer that is none", _LOOK)
    kinds = {_NO_QUESTION: _Older, TOO_OFTEN: Busy}
    return kinds.get(problem, TunnelError)(f"on the state host, {subject}", problem, remedy)
