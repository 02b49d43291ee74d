# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counts of a proxy, as replica_traffic returns them, and their growth over a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: The label of requests that no route answers; see proxy_src/src/mcp_proxy/watch/series.py.
UNROUTED = "-"


@dataclass
class Route:
    """Requests of one route: answered, of these with a status of 5xx, and by the first byte.

    ``first_bytes``: upper bound in seconds, as the metrics write it, to the requests whose response
    began within it; cumulative.
    """

    answered: int = 0
    failed: int = 0
    first_bytes: dict[str, int] = field(default_factory=dict)


@dataclass
class Figures:
    """The counts of one proxy, or of several together."""

    routes: dict[str, Route] = field(default_factory=dict)
    handshakes: int = 0
    handshake_failures: int = 0

    @property
    def requests(self) -> int:
        """All requests, also those that no route answers."""
        return sum(route.answered for route in self.routes.values())

    @property
    def unrouted(self) -> int:
        """Requests that no route answers."""
        return self.routes.get(UNROUTED, Route()).answered


def read(traffic: Mapping[str, Any]) -> Figures | None:
    """The figures of an answer that the rules have let pass; None if they contradict themselves."""
    figures = _read(traffic)
    return figures if _is_sound(figures) else None


def _read(traffic: Mapping[str, Any]) -> Figures:
    figures = Figures(
        handshakes=traffic["handshakes"], handshake_failures=traffic["handshake_failures"]
    )
    for each in traffic["routes"]:
        bounds = {bound["within"]: bound["count"] for bound in each["first_bytes"]}
        figures.routes[each["route"]] = Route(each["answered"], each["failed"], bounds)
    return figures


def growth(before: Mapping[str, Any], after: Mapping[str, Any]) -> Figures | None:
    """The figures of the time between two answers; None if the counts began anew within it."""
    if before["started"] != after["started"]:
        return None
    earlier, later = _read(before), _read(after)
    figures = Figures(
        handshakes=later.handshakes - earlier.handshakes,
        handshake_failures=later.handshake_failures - earlier.handshake_failures,
    )
    for name, route in later.routes.items():
        known = earlier.routes.get(name, Route())
        figures.routes[name] = Route(
            route.answered - known.answered,
            route.failed - known.failed,
            {
                bound: count - known.first_bytes.get(bound, 0)
                for bound, count in route.first_bytes.items()
            },
        )
    return figures if _is_sound(figures) else None


def together(several: Iterable[Figures]) -> Figures:
    """The sums. A bound that one of them lacks is left out: releases may differ in theirs."""
    total = Figures()
    for figures in several:
        total.handshakes += figures.handshakes
        total.handshake_failures += figures.handshake_failures
        for name, route in figures.routes.items():
            if name not in total.routes:
                total.routes[name] = Route(first_bytes=dict.fromkeys(route.first_bytes, 0))
            _add(total.routes[name], route)
    return total


def _add(total: Route, route: Route) -> None:
    total.answered += route.answered
    total.failed += route.failed
    total.first_bytes = {
        bound: count + route.first_bytes[bound]
        for bound, count in total.first_bytes.items()
        if bound in route.first_bytes
    }


def _is_sound(figures: Figures) -> bool:
    """Whether nothing went back, and no part is larger than its whole."""
    return min(figures.handshakes, figures.handshake_failures) >= 0 and all(
        0 <= route.failed <= route.answered and _is_cumulative(route)
        for route in figures.routes.values()
    )


def _is_cumulative(route: Route) -> bool:
    counts = [route.first_bytes[bound] for bound in sorted(route.first_bytes, key=float)]
    return counts == sorted(counts) and min(counts, default=0) >= 0
