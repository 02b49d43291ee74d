"""The settings of both sides of an HTTP/2 connection (RFC 9113 §6.5)."""

from __future__ import annotations

from typing import Final

from ..config.model import Limits
from .frames import (
    MAX_WINDOW,
    ConnectionFault,
    ErrorCode,
    protocol_error,
    setting_items,
    settings,
)
from .stream import STREAM_WINDOW

ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6
NO_RFC7540_PRIORITIES: Final = 0x9


def announced(limits: Limits) -> bytes:
    """Return the frame with our settings; all others keep the protocol's default."""
    return settings(
        {
            MAX_CONCURRENT_STREAMS: limits.max_streams,
            INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            MAX_HEADER_LIST_SIZE: limits.max_header_bytes,
        }
    )


def client_settings(payload: bytes) -> dict[int, int]:
    """Return the client's settings. Raises :class:`ConnectionFault` (§6.5.2; RFC 9218 §2.1)."""
    values: dict[int, int] = {}
    for key, value in setting_items(payload):
        if key in (ENABLE_PUSH, NO_RFC7540_PRIORITIES) and value > 1:
            raise protocol_error("setting is neither 0 nor 1")
        if key == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "window too large")
        if key == MAX_FRAME_SIZE and not 1 << 14 <= value < 1 << 24:
            raise protocol_error("frame size out of range")
        values[key] = value
    return values
