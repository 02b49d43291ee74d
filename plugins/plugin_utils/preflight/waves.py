# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The waves of a roll-out: some replicas of every tunnel at a time, the tunnels side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import (
    Values,
    shape,
)

BATCH = "mcp_tunnel_batch"
MIN_AVAILABLE = "mcp_tunnel_min_available"

_REPLICAS = re.compile(r"[1-9][0-9]{0,5}|(?:100|[1-9][0-9]?)%")
_MEANINGS = {
    BATCH: "the replicas of a tunnel that are deployed at the same time",
    MIN_AVAILABLE: "the replicas of a tunnel that a run must reach",
}


def check_waves(values: Values) -> Iterator[TunnelError]:
    """The problems with the variables that count replicas."""
    for variable, meaning in _MEANINGS.items():
        value = values[variable]
        plain = isinstance(value, (int, str)) and not isinstance(value, bool)
        if not plain or not _REPLICAS.fullmatch(str(value)):
            yield TunnelError(
                variable,
                f"is {repr(value) if plain and len(str(value)) < 100 else shape(value)}",
                f"Give {meaning}, as a number, like 2, or as a percentage, like 50%",
            )


def batch_of(value: Any, replicas: int) -> int:
    """The replicas that may be away at once: of a percentage, rounded down, but one at least."""
    text = str(value)
    if not _REPLICAS.fullmatch(text):
        return 1
    number = int(text.rstrip("%"))
    return max(number * replicas // 100, 1) if text.endswith("%") else number


def least_of(value: Any, replicas: int) -> int:
    """The replicas that must stay: of a percentage, rounded up."""
    text = str(value)
    if not _REPLICAS.fullmatch(text):
        return 1
    number = int(text.rstrip("%"))
    return math.ceil(number * replicas / 100) if text.endswith("%") else number


def make_waves(
    tunnels: Iterable[tuple[Sequence[str], int, Sequence[str]]],
) -> tuple[list[str], list[int]]:
    """The hosts in the order of the waves, and the size of each wave.

    A tunnel has no replica in a later wave without having one in each wave before. So a wave in
    which every host fails leaves nothing to do for those after it.

    :param tunnels: the replicas of each tunnel, how many of them a wave may have, and the canaries
        among them, which go first and have no others beside them.
    """
    waves: list[list[str]] = []
    for replicas, batch, canaries in tunnels:
        others = [name for name in replicas if name not in canaries]
        for number, part in enumerate([*_parts(canaries, batch), *_parts(others, batch)]):
            if number == len(waves):
                waves.append([])
            waves[number] += part
    return [name for wave in waves for name in wave], [len(wave) for wave in waves]


def _parts(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]
