"""The shipped dashboard as panels, queries and texts. Only the standard library."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).resolve().parents[2] / "docs/monitoring/dashboard.json"
RATE_INTERVAL = "45s"
"""In place of ``$__rate_interval``: Grafana takes at least four scrapes."""

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_SPANS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
_SUFFIXES = {"reqps": " req/s", "ops": " /s", "Bps": "B/s", "bytes": "B"}


@dataclass(frozen=True)
class Query:
    """One target of a panel: PromQL, the pattern of its legend, whether it asks for one moment."""

    expression: str
    legend: str
    instant: bool


@dataclass(frozen=True)
class Panel:
    """A panel and its place: *x* and *width* of 24 columns, *y* and *height* in Grafana's rows."""

    title: str
    kind: str
    x: int
    y: int
    width: int
    height: int
    unit: str
    stacked: bool
    steps: tuple[tuple[float, str], ...]
    queries: tuple[Query, ...] = field(default=())

    def colour(self, value: float) -> str:
        """The name of the threshold's colour for *value*; empty if there are no thresholds."""
        passed = [name for bound, name in self.steps if value >= bound]
        return passed[-1] if passed else ""


def panels(path: Path = DASHBOARD) -> list[Panel]:
    """The dashboard's panels, with variables replaced by all their values."""
    return [_panel(item) for item in json.loads(path.read_text())["panels"]]


def _panel(item: Mapping[str, Any]) -> Panel:
    place = item["gridPos"]
    look = item.get("fieldConfig", {}).get("defaults", {})
    steps = look.get("thresholds", {}).get("steps", [])
    return Panel(
        title=item["title"],
        kind=item["type"],
        x=place["x"],
        y=place["y"],
        width=place["w"],
        height=place["h"],
        unit=look.get("unit", "short"),
        stacked=look.get("custom", {}).get("stacking", {}).get("mode") == "normal",
        steps=tuple(
            (float("-inf") if step["value"] is None else step["value"], step["color"])
            for step in steps
        ),
        queries=tuple(
            Query(_expression(each["expr"]), each["legendFormat"], each["instant"])
            for each in item.get("targets", [])
        ),
    )


def _expression(text: str) -> str:
    text = text.replace("$__rate_interval", RATE_INTERVAL)
    return re.sub(r"\$(instance|route)\b", ".*", text)


def legend(pattern: str, labels: Mapping[str, str]) -> str:
    """A series' name, as Grafana makes it of a pattern like ``{{route}} {{reason}}``."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda match: labels.get(match[1], ""), pattern)


def shown(value: float, unit: str) -> str:
    """*value* in a unit of Grafana's, short: ``1.2 k req/s``, ``35 ms``, ``5 %``, ``29 d``."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return _span(value)
    for size, prefix in _PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{_SUFFIXES.get(unit, '').lstrip()}"
    return f"{value:.3g}{_space(unit)}"


def _space(unit: str) -> str:
    suffix = _SUFFIXES.get(unit, "")
    return suffix if suffix.startswith(" ") or not suffix else f" {suffix}"


def _span(seconds: float) -> str:
    for size, name in _SPANS:
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} s" if abs(seconds) >= 1 or not seconds else f"{seconds * 1000:.3g} ms"
