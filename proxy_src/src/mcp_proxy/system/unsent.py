"""How many bytes the kernel takes for a peer that has no room for them.

By itself it takes what a connection's buffer holds: 2.6 MB from the first byte on where the peer is
on this host, as cloudflared is, else up to 4 MB. A few hundred peers that stop reading would use up
what the kernel has for TCP in all (tcp(7): tcp_wmem, tcp_mem), and others on the host would wait.
"""

from __future__ import annotations

import socket

_MOST = 1 << 17
"""Bytes. Those that the peer has room for are on their way, and do not count."""


def limit(sock: socket.socket) -> None:
    """Have the kernel take few bytes more than the peer has room for (TCP_NOTSENT_LOWAT).

    :param sock: a connection, or a listener, from which its connections have it.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST)
