"""How many descriptors are left: the kernel's limit, and when to stop taking on more work.

Without any, nothing can be accepted, dialled, read from disk or sent to systemd's watchdog. So the
last ones are never given to connections.
"""

from __future__ import annotations

import os
import resource
from typing import Final

RESERVE: Final = 64
"""Descriptors for everything that is not a connection of a client or to an upstream."""

_SPARE: Final = 32
"""How many of them are still free when no more connections are made."""


def raise_limit() -> int:
    """Raise the soft limit of descriptors as far as this process may; return the new limit.

    The soft limit is low for the sake of select(2), which nothing here uses (systemd.exec(5)).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connections() -> int:
    """How many connections, of clients and to upstreams together, the limit leaves room for."""
    return max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVE, 0)


def short() -> bool:
    """Whether too few descriptors are left to give one to a connection.

    The kernel hands out the lowest number that is free, so all numbers below are taken.
    """
    try:
        number = os.dup(2)
    except OSError:
        return True
    os.close(number)
    return number >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE
