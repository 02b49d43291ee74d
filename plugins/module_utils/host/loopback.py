# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a service on a loopback port, and believes it only if it is the intended one.

Any local user may listen on a free port: while a service restarts, say.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.listeners import (
    answerer,
    find_listener,
)

_TIMEOUT = 3.0  # seconds for each step
_WHOLE_SECONDS = 10.0  # for request and answer
_MAX_BODY = 65536


class Stranger(Exception):
    """Somebody else answers; the text says who."""


def must_be(unit: str) -> Callable[[socket.socket], None]:
    """A check that raises :class:`Stranger` for a connection that *unit* did not accept.

    It raises :class:`TimeoutError` if nobody has accepted it in time.
    """

    def check(connection: socket.socket) -> None:
        port = connection.getpeername()[1]
        found = answerer(connection, _TIMEOUT)
        if found is None:
            holder = find_listener(port)
            raise TimeoutError(f"accepted by nobody; listening is {holder or 'nobody any more'}")
        if found.unit != unit:
            raise Stranger(f"port {port} is held by {found}, not by {unit}")

    return check


def get(port: int, path: str, unit: str, most: int = _MAX_BODY) -> tuple[int, str]:
    """Status and body of a plain request on loopback; status 0 and the reason if there is none.

    :param most: bytes of the body that are read at most.
    :raises Stranger: if another process than *unit* took the connection; nothing was sent to it.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
    with contextlib.closing(connection):
        try:
            connection.connect()
            must_be(unit)(connection.sock)
            with _limited(connection.sock, _WHOLE_SECONDS):
                connection.request("GET", path, headers={"Connection": "close"})
                answer = connection.getresponse()
                return answer.status, answer.read(most).decode("utf-8", "replace")
        except (OSError, ValueError, http.client.HTTPException) as error:
            return 0, getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextlib.contextmanager
def _limited(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Ends the connection after so many seconds: a service may send a byte every second.

    :raises TimeoutError: if that was necessary.
    """
    ended = threading.Event()

    def end() -> None:
        ended.set()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if ended.is_set():
            raise TimeoutError(f"the answer has not ended within {seconds:g} seconds")
