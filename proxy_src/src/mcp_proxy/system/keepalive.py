"""Whether the machine at the other end of a TCP connection is still there.

A machine that vanishes (power, network, a firewall that forgets) sends neither FIN nor RST, and a
quiet connection would stay for ever. So the kernel probes the quiet ones (RFC 1122 §4.2.3.6), and
this module reads the outcome.

``TCP_USER_TIMEOUT`` would do the same for sent data, but would also end the connection to a living
server that does not read for a while (a window of zero). That must not happen here.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

_UNANSWERED: Final = struct.Struct("=2xBB52xI")
"""Of ``struct tcp_info`` (linux/tcp.h): retransmits, probes, last_ack_recv in milliseconds."""
_MAX_IDLE: Final = 32767
"""The most seconds that the kernel takes for TCP_KEEPIDLE and TCP_KEEPINTVL."""
_ENOUGH: Final = 2
"""Unanswered packets in a row that mean silence: one alone may just be on its way."""


def watch(sock: socket.socket, seconds: float) -> None:
    """Have the peer probed often enough for :func:`silence` to tell after *seconds*."""
    quarter = min(max(round(seconds / 4), 1), _MAX_IDLE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, quarter)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, quarter)


def silence(sock: socket.socket) -> float:
    """For how many seconds the peer has acknowledged nothing, though it should have; else 0."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNANSWERED.size)
    retransmits, probes, milliseconds = _UNANSWERED.unpack(info)
    return milliseconds / 1000 if retransmits + probes >= _ENOUGH else 0.0
