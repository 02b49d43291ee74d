"""The rules for every request before it is acted on, whatever version carried it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from ..config.model import METHODS

__all__ = ["METHODS", "Refusal", "check_authority", "check_target", "too_large"]

# RFC 3986 §3.2.2: what can stand in a host, without userinfo; empty is legal but routes nowhere.
_AUTHORITY: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*\Z")
_TARGET: Final = re.compile(rb"/[\x21-\x7e\x80-\xff]*\Z")


class Refusal(Exception):
    """A request that cannot be passed on, with the ``status`` to answer.

    ``error`` is its type (RFC 9209 §2.3): the fault of the client's request, or an answer that
    needed no upstream.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.error = "http_request_error" if status < 500 else "proxy_internal_response"


def too_large() -> Refusal:
    """For a head or trailers beyond ``max_header_bytes``."""
    return Refusal(431, "Request header fields too large")


def check_target(method: bytes, target: bytes, authority: bytes) -> None:
    """Raise :class:`Refusal` (400) unless *target* and *authority* can be written into a head.

    Anything that gets past here ends up in the request line and Host of another request: blanks
    and line ends in it would be request smuggling.
    """
    if not _TARGET.match(target) and not (target == b"*" and method == b"OPTIONS"):
        raise Refusal(400, "Bad request target")  # the asterisk: RFC 9110 §7.1
    check_authority(authority)


@lru_cache(64)  # most requests are for the same few hosts
def check_authority(authority: bytes) -> None:
    """Raise :class:`Refusal` (400) unless *authority* can be written into a Host field."""
    if not _AUTHORITY.match(authority):
        raise Refusal(400, "Bad Host")
