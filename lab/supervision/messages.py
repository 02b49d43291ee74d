"""Messages between supervisor, keeper and `lab up`: one JSON object per line."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping
from typing import Any

#: Keys in use: ``step`` and ``detail`` (text for a person), ``error`` (text; the lab is
#: coming down), ``booted`` (facts; from the supervisor), ``ready`` (true; from the keeper).
Message = Mapping[str, Any]


def encode(message: Message) -> bytes:
    """One line."""
    return json.dumps(message).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The reverse of :func:`encode`."""
    message: Message = json.loads(line)
    return message


def send(sock: socket.socket, message: Message) -> None:
    """Sends, even to a peer that is gone: the reading side notices its absence."""
    with contextlib.suppress(OSError):
        sock.sendall(encode(message))
