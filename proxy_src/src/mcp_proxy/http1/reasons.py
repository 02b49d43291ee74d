"""Status lines. Their reason phrases carry no meaning (RFC 9112 §4); people read them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b" % (status.value, status.phrase.encode("ascii"))
    for status in HTTPStatus
}


def status_line(status: int) -> bytes:
    """The line without its end, with the registered phrase for *status* if there is one."""
    return _LINES.get(status) or b"HTTP/1.1 %d " % status
