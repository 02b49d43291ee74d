# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explains why a request has no answer: was it sent, and what can the operator do?"""

from __future__ import annotations

import ssl
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import (
    NoAnswer,
    Request,
)


class Distrusted(NoAnswer):
    """TLS failed; another attempt would fail, too."""


def no_answer(request: Request, error: Exception, kinds: Any) -> NoAnswer:
    """The meaning of an exception for the operator, without its text: that may quote secrets.

    :param kinds: the module ``requests.exceptions``.
    """
    reason = _reason(error)
    if isinstance(error, kinds.SSLError):
        return Distrusted(
            request.place,
            f"TLS failed ({reason})",
            "Give the CA that signed the server's certificate with api_ca_bundle or SSL_CERT_FILE, "
            "and check the host's clock",
            sent=False,
        )
    unsent = _is_unsent(error, kinds)
    if isinstance(error, kinds.ReadTimeout):
        reason = "no answer in time"
    if "RemoteDisconnected" in _chain_names(error):
        reason = "the connection was closed"
    if isinstance(error, kinds.ProxyError):
        told = "the proxy does not carry the request" if unsent else "no answer through the proxy"
        return NoAnswer(
            request.place,
            f"{told} ({reason})",
            "Check api_proxy, or HTTPS_PROXY and NO_PROXY of this task",
            sent=not unsent,
        )
    return NoAnswer(
        request.place,
        f"cannot be reached ({reason})" if unsent else f"did not answer ({reason})",
        "Check the network, DNS and firewall of this host, and whether a proxy is needed",
        sent=not unsent,
    )


def _is_unsent(error: Exception, kinds: Any) -> bool:
    """Whether no part of the request has left this host.

    A ``ProxyError`` alone does not show it: urllib3 raises one for any failure of a connection
    through a proxy, even after the request was sent.
    """
    return (
        isinstance(error, (kinds.InvalidURL, kinds.InvalidHeader, kinds.InvalidSchema))
        or not _chain_names(error).isdisjoint(("NewConnectionError", "ConnectTimeoutError"))
        # The answer to CONNECT, in the words of http.client.
        or any(
            isinstance(link, OSError) and str(link).startswith("Tunnel connection failed")
            for link in _chain(error)
        )
    )


def _chain(error: BaseException | None) -> list[BaseException]:
    """The exception and everything that it wraps, outermost first."""
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        current = waiting.pop(0)
        if isinstance(current, BaseException) and current not in found:
            found.append(current)
            waiting += [getattr(current, "reason", None), *current.args]
            waiting += [current.__cause__, current.__context__]
    return found


def _chain_names(error: BaseException) -> set[str]:
    """Names of their types, and of the types that these are kinds of."""
    return {kind.__name__ for link in _chain(error) for kind in type(link).__mro__}


def _reason(error: BaseException) -> str:
    """The system's own words for the innermost cause, else the name of the exception."""
    links = _chain(error)
    for link in links:
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"certificate verify failed: {link.verify_message}"
    for link in reversed(links):
        if isinstance(link, OSError) and link.strerror:
            return str(link.strerror)
    return type(links[-1]).__name__
