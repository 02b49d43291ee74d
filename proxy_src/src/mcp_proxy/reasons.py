"""Reason phrases of status lines. They carry no meaning (RFC 9112 §4); people read them."""

from __future__ import annotations

from http import HTTPStatus

_PHRASES = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


def reason_phrase(status: int) -> bytes:
    """The registered phrase for *status*, or nothing."""
    return _PHRASES.get(status, b"")
