"""The dashboard as the recorder and the drawing program of the picture read it."""

from __future__ import annotations

import json
import struct

import pytest

from benchmarks.dashboard.panels import DASHBOARD, Panel, legend, panels, shown

PICTURE = DASHBOARD.parent / "dashboard.png"
KINDS = {"row", "timeseries", "stat", "heatmap", "table"}
"""The kinds of panels that draw.py can draw."""


def test_every_panel_can_be_recorded_and_drawn() -> None:
    shipped = json.loads(DASHBOARD.read_text())["panels"]
    read = panels()
    assert [panel.title for panel in read] == [item["title"] for item in shipped]
    assert {panel.kind for panel in read} == KINDS
    assert all(bool(panel.queries) == (panel.kind != "row") for panel in read)
    expressions = [query.expression for panel in read for query in panel.queries]
    assert [text for text in expressions if "$" in text] == []
    # A picture with one of many moments, or with many where one is asked for, would be wrong.
    for panel in read:
        for query in panel.queries:
            assert query.instant == (panel.kind in ("stat", "table"))


def test_the_colour_is_that_of_the_last_threshold_passed() -> None:
    (panel,) = (item for item in panels() if item.title == "Tunnel connections")
    assert [panel.colour(value) for value in (0, 1, 3, 4, 8)] == [
        "red", "yellow", "yellow", "green", "green",
    ]  # fmt: skip
    assert Panel("x", "stat", 0, 0, 1, 1, "short", False, ()).colour(1) == ""


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("{{route}}", "wiki"), ("{{ route }} {{reason}}", "wiki dns"), ("p95", "p95"), ("{{x}}", "")],
)
def test_a_legend_is_made_of_labels(pattern: str, name: str) -> None:
    assert legend(pattern, {"route": "wiki", "reason": "dns"}) == name


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "short", "0"),
        (4, "short", "4"),
        (1234, "short", "1.23 k"),
        (0.25, "reqps", "0.25 req/s"),
        (2500, "reqps", "2.5 kreq/s"),
        (1.5, "ops", "1.5 /s"),
        (512, "Bps", "512 B/s"),
        (52_428_800, "bytes", "52.4 MB"),
        (0.125, "percentunit", "12.5 %"),
        (0.0042, "s", "4.2 ms"),
        (0, "s", "0 s"),
        (12, "s", "12 s"),
        (-90, "s", "-1.5 min"),
        (2_592_000, "s", "30 d"),
    ],
)
def test_values_are_short_and_have_their_unit(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_the_picture_is_there_and_small() -> None:
    head = PICTURE.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    assert 1000 < width < 1400 < height
    assert PICTURE.stat().st_size < 400_000
    assert "dashboard.png" in (DASHBOARD.parent / "README.md").read_text()
