# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that somebody else signs: what is asked, and the judgement of the answer.

Nothing in an answer is believed. The program that gives it may be broken, or ask another CA than
the registered one; the replica that has made the request may have been taken over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import wanted_names
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto, server
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.crypto import x509

ANSWER = "the answer of the signer (mcp_tunnel_signer)"
_STAYS = "The certificate in use stays. "
_LONGEST_BACKDATE = timedelta(days=1)
"""How long before the question a certificate may start: CAs allow for clocks that are behind."""
_LONGEST_WAIT = 10.0
"""Seconds for which a certificate is awaited that starts in the future. The unit of the signer ends
15 seconds after the longest time of a program."""
_EXTENSIONS = "1.2.840.113549.1.9.14"
"""The attribute of a request that has its extensions (RFC 2985, section 5.4.2)."""
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def check_request(csr: str, domain: str, routes: Iterable[str]) -> None:
    """Refuses a request that asks for anything beyond the tunnel's names.

    The collection's own CA takes nothing but the key from a request. Other CAs may take all of it.

    :raises TunnelError: naming what it asks for.
    """
    request = server.checked_request(csr, domain, routes)
    kinds = [each.oid for each in request.extensions]
    plain = kinds == [x509.oid.ExtensionOID.SUBJECT_ALTERNATIVE_NAME]
    plain = plain and _has_one_attribute(request)
    if not plain or request.subject != server.subject_name(domain):
        problem = "has another subject, or extensions beside its names"
    elif server.all_names(request) != sorted(wanted_names(domain, routes)):
        problem = "has names that are no DNS names"
    else:
        return
    raise TunnelError("csr", problem, "Make the request with server_cert state=requested")


def _has_one_attribute(request: x509.CertificateSigningRequest) -> bool:
    """Whether its names are all: CAs read further attributes, also a second list of extensions."""
    try:
        return [each.oid.dotted_string for each in request.attributes] == [_EXTENSIONS]
    except ValueError:
        return False


def first_certificate(answer: str) -> x509.Certificate:
    """The first certificate (PEM) in an answer: others of its chain may follow.

    Text around it is allowed (RFC 7468, section 5.2): tools explain what they have signed.

    :raises TunnelError: if there is none, or a private key is in the answer.
    """
    if "PRIVATE KEY-----" in answer:
        raise TunnelError(
            ANSWER,
            "contains a private key",
            f"{_STAYS}Have the program answer with the certificate alone, and take that key for "
            "exposed",
        )
    found = _BLOCK.search(answer)
    if not found:
        raise TunnelError(
            ANSWER,
            "has no certificate in PEM" if answer.strip() else "is empty",
            f"{_STAYS}Have the program write the certificate in PEM to standard output, first its "
            "own and then the chain",
        )
    try:
        return crypto.load_certificate(found.group(), ANSWER)
    except TunnelError as error:
        raise TunnelError(ANSWER, error.problem, f"{_STAYS}{error.remedy}") from None


def moment_of(certificate: x509.Certificate, now: datetime) -> datetime:
    """The moment at which to judge an answer; it is awaited if the certificate is about to start.

    A CA that does not date its certificates back may have a clock that is slightly ahead.

    :param now: the moment of the question.
    """
    ahead = (crypto.not_before(certificate) - crypto.utc_now()).total_seconds()
    if 0 < ahead <= _LONGEST_WAIT:
        time.sleep(ahead)
    return max(now, crypto.utc_now())


def check_answer(
    certificate: x509.Certificate,
    csr: str,
    ca: x509.Certificate,
    lifetimes: tuple[timedelta, timedelta],
    now: datetime,
) -> None:
    """Judges a certificate by the rules of the service and by what was asked for.

    :param csr: the request (PEM).
    :param ca: the CA that is registered on the tunnel.
    :param lifetimes: the longest that it may last; and what is left when it is renewed.
    :raises TunnelError: naming every rule that it breaks.
    """
    duration, renew_before = lifetimes
    problems = server.server_problems(certificate, ca, now)
    problems += server.answer_problems(certificate, csr, duration, now)
    start = crypto.not_before(certificate)
    if start < now - _LONGEST_BACKDATE:
        problems.append(f"it starts on {crypto.timestamp(start)}, long before it was asked for")
    if not problems:
        # Else each run would renew it again.
        problems += server.renewal_reasons(certificate, ca, renew_before, now)
    if problems:
        raise TunnelError(
            ANSWER,
            "; ".join(problems),
            f"{_STAYS}Have the program sign the request as it is, for a TLS server, with the CA in "
            "mcp_tunnel_ca_cert, for at most mcp_tunnel_cert_duration and for longer than "
            "mcp_tunnel_cert_renew_before",
        )
