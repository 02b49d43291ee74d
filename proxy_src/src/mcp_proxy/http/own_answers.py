"""Answers of the proxy itself, and the field by which they are known (RFC 9209).

A client cannot tell by a status who has given it: an upstream has a 502 of its own. So each answer
that was made here, and no other, carries ``Proxy-Status`` with the type of the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .messages import ResponseHead

PROXY_NAME: Final = b"mcp-proxy"
"""The name of this proxy in ``Proxy-Status``. Which of the replicas it was concerns no client."""


def own_answer(
    status: int, text: str, error: str, more: Sequence[tuple[bytes, bytes]] = ()
) -> tuple[ResponseHead, bytes]:
    """The head and the content of an answer that says *text*.

    :param error: a type of RFC 9209 §2.3, with its parameters if it has any.
    :param more: further fields of the head.
    """
    content = f"{text}\n".encode()
    fields = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Proxy-Status", PROXY_NAME + b"; error=" + error.encode("ascii")),
        *more,
    ]
    return ResponseHead(status, fields, len(content)), content
