"""How many bytes the kernel takes for a client that has no room for them.

By itself it takes what a connection's buffer holds: 2.6 MB from the first byte on where the client
is on this host, as cloudflared is, else up to 4 MB. A few hundred clients that stop reading would
use up what the kernel has for TCP in all (tcp(7): tcp_wmem, tcp_mem), and others on the host would
wait.

Not for upstreams: one that answers before it has taken all content, and closes, is heard only if
the proxy has no more to send by then.
"""

from __future__ import annotations

import socket
from typing import Final

_MOST: Final = 1 << 17
"""Bytes. Those that the client has room for are on their way, and do not count."""


def limit(listener: socket.socket) -> None:
    """Have the kernel take few bytes more than a client has room for (TCP_NOTSENT_LOWAT).

    :param listener: its connections have it from there.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST)
