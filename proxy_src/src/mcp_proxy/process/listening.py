"""The listening sockets: inherited from systemd, or bound here; one for each worker.

Each worker has sockets of its own, all bound to one port with SO_REUSEPORT (socket(7)): the kernel
spreads new connections over them. The supervisor keeps every one of them open, so that connections
in the queue of a worker that died are accepted by its successor instead of being reset.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import MutableMapping, Sequence

from ..config.model import Address

BACKLOG = 4096
"""The backlog that systemd asks for, too; the kernel's own limit is net.core.somaxconn."""

_FIRST = 3
"""The first descriptor that systemd passes (sd_listen_fds(3), SD_LISTEN_FDS_START)."""

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def inherited(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the sockets that systemd, or a program like it, has passed; this works only once.

    Children get them only if they are meant to. The descriptors are closed on exec from here on,
    and the variables are removed from *environ* as sd_listen_fds(3) does on request.
    """
    values = [environ.pop(name, "") for name in _VARIABLES]
    if values[0] != str(os.getpid()) or not values[1].isdecimal():
        return []
    sockets = []
    for descriptor in range(_FIRST, _FIRST + int(values[1])):
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        sockets.append(sock)
    return sockets


def split(
    sockets: Sequence[socket.socket], listen: Address, admin: Address | None
) -> tuple[list[socket.socket], list[socket.socket]]:
    """Tell *sockets* for the requests from those that are bound to the admin address."""
    if admin is None or not admin.port or admin.port == listen.port:
        return list(sockets), []
    ours = [sock for sock in sockets if not mismatch([sock], admin)]
    return [sock for sock in sockets if sock not in ours], ours


def bind(address: Address, count: int) -> list[socket.socket]:
    """Listen on *address*, with *count* sockets for each of its IP addresses.

    Raises :class:`OSError` if that is not possible.
    """
    found = socket.getaddrinfo(
        address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    try:
        for family, *_dummies, where in dict.fromkeys(found):
            try:
                sockets += _bind_one(family, where, count)
            except OSError as error:
                # A host without IPv6 has nothing to listen on there.
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                failure = error
        if failure is not None and not sockets:
            raise failure
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind_one(family: int, where: tuple[object, ...], count: int) -> list[socket.socket]:
    if where[1]:
        # Two proxies of one user would share a port without noticing.
        _socket(family, where, shared=False).close()
    sockets: list[socket.socket] = []
    for _dummy in range(count):
        sockets.append(_socket(family, where, shared=True))
        where = (where[0], sockets[0].getsockname()[1], *where[2:])
    return sockets


def _socket(family: int, where: tuple[object, ...], shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        if shared:
            sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def share(sockets: Sequence[socket.socket], worker: int, workers: int) -> list[socket.socket]:
    """Return the sockets that *worker* (from 0) of so many *workers* accepts from.

    Every socket has a worker that accepts from it, and every worker has a socket. If there are too
    few, several workers accept from the same one.
    """
    if len(sockets) < workers:
        return [sockets[worker % len(sockets)]]
    return list(sockets[worker::workers])


def mismatch(sockets: Sequence[socket.socket], address: Address) -> str:
    """Return why *sockets* do not fit *address*, ``""`` if they do."""
    for sock in sockets:
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or not sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            return "something else than a listening TCP socket"
        host, port = sock.getsockname()[:2]
        if port != address.port != 0 or address.host not in ("", host, "localhost"):
            return f"a socket that listens on {host}:{port}"
    return ""
