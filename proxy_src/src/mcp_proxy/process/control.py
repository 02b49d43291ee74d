"""The messages between supervisor and worker, as bytes (sans-IO).

A message is a JSON object after its length in four bytes. ``kind`` tells what it is about:

================  =============  ==================================================================
kind              from           fields
================  =============  ==================================================================
``settings``      supervisor     what to use from now on, the first one being all of it: ``config``
                                 (:mod:`config.wire`), ``pair`` (chain and key, PEM), ``tickets``
                                 (:mod:`tls.ticket_keys`, hex)
``drain``         supervisor     ``seconds`` that requests may still take; again and 0: end now
``count``         supervisor     asks for ``alive`` at once
``ready``         worker         connections are accepted
``applied``       worker         the last ``settings`` are in use
``alive``         worker         ``counts`` (:meth:`watch.metrics.Metrics.snapshot`), ``process``
                                 (:func:`watch.process_metrics.measure`)
``leaving``       worker         no connection is accepted any more
``drained``       worker         ``cut``: how many requests were cut; it ends now
================  =============  ==================================================================

The channel carries private keys, and is a pair of sockets that nobody else can open.
"""

from __future__ import annotations

import json
import struct
from typing import Any

Message = dict[str, Any]

MAX_BYTES = 1 << 27
"""More than any configuration: a longer message means that the two sides are out of step."""

HEARTBEAT = 2.0
"""Seconds between two ``alive``."""

_LENGTH = struct.Struct("!I")


class OutOfStep(Exception):
    """The bytes are no messages."""


def encode_message(kind: str, **fields: Any) -> bytes:
    """One message."""
    body = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


class MessageDecoder:
    """Takes bytes as they come, gives messages."""

    def __init__(self) -> None:
        self._pending = bytearray()

    @property
    def within(self) -> bool:
        """Whether a message has begun that is not complete."""
        return bool(self._pending)

    def feed(self, data: bytes) -> list[Message]:
        """The messages that *data* completes. Raises :class:`OutOfStep`."""
        self._pending += data
        messages = []
        while len(self._pending) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._pending)
            if length > MAX_BYTES:
                raise OutOfStep(f"a message of {length} bytes")
            end = _LENGTH.size + length
            if len(self._pending) < end:
                break
            messages.append(_message(bytes(self._pending[_LENGTH.size : end])))
            del self._pending[:end]
        return messages


def _message(body: bytes) -> Message:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise OutOfStep("not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise OutOfStep("a message without a kind")
    return message
