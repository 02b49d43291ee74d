"""The signals of the supervisor, held back while nobody is there to take them.

By default each of them ends the process (signal(7)). From the first look at the configuration until
the supervisor takes signals, and while one release becomes another, they wait: neither SIGHUP nor
SIGTERM is lost, and neither ends a process that has requests in flight.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

_TAKEN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def hold() -> None:
    """Let them wait, also across execve(2), until :func:`let_in`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)


def let_in() -> None:
    """Take those that wait, and those that come from now on."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TAKEN)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let them wait until :func:`let_in`, at most until the end of the context."""
    hold()
    try:
        yield
    finally:
        let_in()
