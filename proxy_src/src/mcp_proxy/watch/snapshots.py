"""The counts of several processes as if they were one: those that run, and those that ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .metrics import Snapshot
from .series import FAMILIES, GAUGE


def unite(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Unite what several processes have counted, each family as :mod:`series` says.

    Families that this release does not know, from a worker of another one, are left out.
    """
    united: dict[str, dict[tuple[str, ...], Any]] = {}
    for snapshot in snapshots:
        for name, samples in snapshot.items():
            if name not in FAMILIES:
                continue
            unites = _UNITES[FAMILIES[name].unites]
            values = united.setdefault(name, {})
            for labels, value in samples:
                key = tuple(labels)
                values[key] = unites(values[key], value) if key in values else value
    return {
        name: [(list(labels), value) for labels, value in values.items()]
        for name, values in united.items()
    }


def without_gauges(snapshot: Snapshot) -> Snapshot:
    """Return what stays true of a process that has ended: not what was in flight in it."""
    return {
        name: samples
        for name, samples in snapshot.items()
        if name in FAMILIES and FAMILIES[name].kind != GAUGE
    }


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, list):
        return [a + b for a, b in zip(one, other)]
    return one + other


_UNITES: dict[str, Callable[[Any, Any], Any]] = {"sum": _sum, "min": min, "max": max}
