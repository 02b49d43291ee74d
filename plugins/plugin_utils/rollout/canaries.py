# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replicas that go first, and the time for which they are watched."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.duration import parse_duration
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import (
    Values,
    as_number,
    described,
)

CANARY = "mcp_tunnel_canary"
SOAK = "mcp_tunnel_soak"
PIECE = 300
"""Seconds that a soak waits at once: between them, a run asks for its lease again."""
MOST_BESIDE = 10
"""Replicas beside a canary that are asked: one after the other, before the soak and after it."""
PATIENCE = 60
"""Seconds for each answer."""
_LONGEST = 86400


def check_soak(values: Values) -> Iterator[TunnelError]:
    """The problems with the time. Other rules check the names."""
    if values[SOAK] != "" and not soak_seconds(values[SOAK]):
        yield TunnelError(
            SOAK,
            f"must be a time from a second to a day, is {described(values[SOAK])}",
            "Write whole seconds, like 600, or a duration, like 10m; leave it out for none",
        )


def soak_seconds(value: Any) -> int:
    """The seconds that a value means; 0 for none, and for one that means no time."""
    number = as_number(value, 1, _LONGEST)
    if number is not None or not isinstance(value, str):
        return number or 0
    try:
        seconds = math.ceil(parse_duration(value, SOAK).total_seconds())
    except TunnelError:
        return 0
    return seconds if seconds <= _LONGEST else 0


def silence(value: Any, piece: int = PIECE) -> int:
    """The seconds for which a run with this soak may hold a lease without asking for longer.

    :param piece: after so many seconds it asks at the latest.
    """
    seconds = soak_seconds(value)
    return min(seconds, piece) + (MOST_BESIDE + 1) * PATIENCE if seconds else 0


def canaries_of(named: Any, soak: Any, names: Sequence[str]) -> list[str]:
    """The canaries of a tunnel among its replicas *names* that take part.

    :param named: those that the operator has named. If none of them is there, or none is named, the
        first one is, where there is a soak: none goes unwatched.
    """
    given: Collection[Any] = named if isinstance(named, list) else []
    return [name for name in names if name in given] or (list(names[:1]) if soak else [])
