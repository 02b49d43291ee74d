"""``draw.py FILE PICTURE``: the recorded panels as a PNG, about as Grafana shows them."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Not in the development environment: see the package.
import matplotlib  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.dashboard.panels import Panel, legend, panels, shown

matplotlib.use("Agg")

from matplotlib import pyplot, ticker

Answers = list[list[dict[str, Any]]]
Span = tuple[float, float]  # when the picture begins and ends

_COLUMN, _ROW = 0.58, 0.31  # inches of one of Grafana's units
_DPI = 90
_GROUND, _CARD, _INK, _DIM, _LINE = "#111217", "#181b1f", "#d8d9da", "#8e8e8e", "#2f3237"
_PALETTE = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#37872d")
_COLOURS = {"green": "#73bf69", "yellow": "#f2cc0c", "orange": "#ff780a", "red": "#f2495c"}
_ROUND = (1, 2, 2.5, 5, 10)  # the steps between the ticks of an axis
_NAMES = 4  # a legend has room for so many series


def _series(panel: Panel, answers: Answers, span: Span) -> Iterator[tuple[str, Any, Any]]:
    """Name, minutes and values of each series; a value that is no number is a gap."""
    for query, found in zip(panel.queries, answers):
        for item in found:
            name = legend(query.legend, item["metric"]) or panel.title
            minutes = [(when - span[0]) / 60 for when, _ in item["values"]]
            yield name, minutes, [float(value) for _, value in item["values"]]


def _highest(values: list[float]) -> float:
    return max((value for value in values if math.isfinite(value)), default=0.0)


def _on_one_axis(lines: list[tuple[str, Any, Any]]) -> list[tuple[str, Any, Any]]:
    """The same series with the times of all, for stacking: a series without a value has 0."""
    times = sorted({when for _, minutes, _ in lines for when in minutes})
    step = min((later - when for when, later in itertools.pairwise(times)), default=0.0)
    # Without any value there is no line, rather than one from side to side.
    times += [
        edge
        for when, later in itertools.pairwise(times)
        if later - when > 1.5 * step
        for edge in (when + step, later - step)
    ]
    times.sort()
    filled = []
    for name, minutes, values in lines:
        known = dict(zip(minutes, values))
        filled.append((name, times, [known.get(when, 0.0) for when in times]))
    return filled


def _timeseries(axes: Any, panel: Panel, answers: Answers, span: Span) -> None:
    lines = list(_series(panel, answers, span))
    if len(lines) > _NAMES:
        lines.sort(key=lambda line: _highest(line[2]), reverse=True)
    if panel.stacked and lines:
        lines = _on_one_axis(lines)
        colours = [_PALETTE[index % len(_PALETTE)] for index in range(len(lines))]
        parts = [values for _, _, values in lines]
        axes.stackplot(lines[0][1], *parts, colors=colours, alpha=0.65, lw=0.5)
        names = [name for name, _, _ in lines]
        handles = axes.collections
    else:
        handles = [
            axes.plot(minutes, values, lw=1.2, color=_PALETTE[index % len(_PALETTE)])[0]
            for index, (_, minutes, values) in enumerate(lines)
        ]
        names = [name for name, _, _ in lines]
    if not lines:
        axes.text(0.5, 0.5, "nothing", transform=axes.transAxes, ha="center", color=_DIM, size=8)
    highest = max((_highest(values) for _, _, values in lines), default=0.0)
    axes.set_ylim(bottom=0, top=None if highest > 0 else 1)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: shown(value, panel.unit)))
    days = math.ceil(highest / 86400 / 3) if panel.unit == "s" else 0
    of_values = ticker.MaxNLocator(4, steps=_ROUND)
    axes.yaxis.set_major_locator(ticker.MultipleLocator(days * 86400) if days > 1 else of_values)
    _time_axis(axes, span)
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    labels = [name + (more if place == _NAMES - 1 else "") for place, name in enumerate(names)]
    if names:
        axes.legend(
            handles[:_NAMES], labels[:_NAMES], loc="upper center", bbox_to_anchor=(0.5, -0.13),
            ncol=2, frameon=False, fontsize=7, labelcolor=_INK, handlelength=1, columnspacing=1,
        )  # fmt: skip


def _time_axis(axes: Any, span: Span) -> None:
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g} min"))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, steps=_ROUND, prune="upper"))
    axes.set_xlim(0, (span[1] - span[0]) / 60)
    axes.grid(color=_LINE, lw=0.5)
    axes.tick_params(colors=_DIM, labelsize=7, length=0)


def _heatmap(axes: Any, panel: Panel, answers: Answers, span: Span) -> None:
    lines = sorted(_series(panel, answers, span), key=lambda line: float(line[0]))
    grid = [values for _, _, values in lines]
    # Prometheus' buckets include all smaller values; Grafana takes the difference.
    rows = [grid[0]] + [
        [max(0.0, high - low) for low, high in zip(below, row)]
        for below, row in zip(grid, grid[1:])
    ]
    axes.imshow(
        rows, aspect="auto", origin="lower", cmap="inferno", interpolation="nearest",
        extent=(lines[0][1][0], lines[0][1][-1], 0, len(rows)),
    )  # fmt: skip
    axes.set_yticks([index + 1 for index in range(0, len(rows), 2)])
    bounds = [float(name) for name, _, _ in lines][::2]
    axes.set_yticklabels(["∞" if bound == float("inf") else shown(bound, "s") for bound in bounds])
    _time_axis(axes, span)
    axes.grid(visible=False)


def _stat(axes: Any, panel: Panel, answers: Answers, span: Span) -> None:
    axes.axis("off")
    values = [values[-1] for _, _, values in _series(panel, answers, span)]
    text = shown(values[0], panel.unit) if values else "No data"
    colour = _COLOURS.get(panel.colour(values[0]) if values else "", _INK)
    axes.text(
        0.5, 0.45, text, transform=axes.transAxes, ha="center", va="center", color=colour,
        size=15, weight="bold",
    )  # fmt: skip


def _table(axes: Any, panel: Panel, answers: Answers, span: Span) -> None:
    axes.axis("off")
    hidden = {"__name__", "job"}
    rows = [
        {name: text for name, text in item["metric"].items() if name not in hidden}
        for item in answers[0]
    ]
    names = sorted({name for row in rows for name in row})
    cells = [names] + [[row.get(name, "") for name in names] for row in rows]
    widths = [2 + max(map(len, column)) for column in zip(*cells, strict=True)]
    for down, row in enumerate(cells):
        for right, text in enumerate(row):
            left = 0.01 + sum(widths[:right]) / sum(widths)
            axes.text(
                left, 0.8 - down * 0.27, text, transform=axes.transAxes,
                color=_DIM if down == 0 else _INK, size=7,
            )  # fmt: skip


_KINDS = {"timeseries": _timeseries, "heatmap": _heatmap, "stat": _stat, "table": _table}


def _place(panel: Panel, rows: int) -> tuple[float, float, float, float]:
    """Left, bottom, width, height of the panel's card, as parts of the figure."""
    top = 1 - panel.y / rows
    return panel.x / 24, top - panel.height / rows, panel.width / 24, panel.height / rows


def draw(recording: dict[str, Any], picture: Path) -> None:
    """Draw all panels of *recording* into a PNG."""
    shipped = panels()
    span = (recording["begin"], recording["end"])
    rows = max(panel.y + panel.height for panel in shipped)
    figure = pyplot.figure(figsize=(24 * _COLUMN, rows * _ROW), facecolor=_GROUND)
    for panel, answers in zip(shipped, recording["answers"], strict=True):
        left, bottom, width, height = _place(panel, rows)
        if panel.kind == "row":
            figure.text(
                left + 0.005, bottom + height / 2, f"⌄ {panel.title}", color=_INK, va="center",
                size=10, weight="bold",
            )  # fmt: skip
            continue
        gap, flat = 0.003, panel.kind in ("stat", "table")
        card = (left + gap, bottom + gap * 0.35, width - 2 * gap, height - gap * 0.7)
        back = figure.add_axes(card, facecolor=_CARD)
        back.set(xticks=[], yticks=[])
        for spine in back.spines.values():
            spine.set_color(_LINE)
        unit = 1 / rows
        title = bottom + height - 0.75 * unit
        figure.text(left + 0.008, title, panel.title, color=_INK, size=8, va="center")
        side, low = (0.005, 0.1) if flat else (0.042, 2.15)
        inner = (
            left + side,
            bottom + low * unit,
            width - side - (0.012 if flat else 0.02),
            height - (low + 1.3) * unit,
        )
        axes = figure.add_axes(inner, facecolor=_CARD)
        for spine in axes.spines.values():
            spine.set_visible(False)
        _KINDS[panel.kind](axes, panel, answers, span)
    figure.savefig(picture, dpi=_DPI, facecolor=_GROUND)
    _shrink(picture)


def _shrink(picture: Path) -> None:
    """Store it with a palette: a quarter of the bytes, and no visible difference."""
    from PIL import Image  # type: ignore[import-not-found]

    with Image.open(picture) as image:
        image.convert("RGB").quantize(colors=128).save(picture, optimize=True)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
