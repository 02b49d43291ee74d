from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from exposed import samples
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.watch.metrics import Metrics
from mcp_proxy.watch.tunnel_metrics import TunnelConnections
from root_files import UNREADABLE, Make, text

NUMBER = "mcp_tunnel_ready_connections"
AGE = "mcp_tunnel_ready_connections_age_seconds"
DRAINED = "mcp_tunnel_drained"


class Scraped:
    """The samples that /metrics shows of the file at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connections = TunnelConnections(str(path))

    def __call__(self) -> dict[str, float]:
        found = samples(Metrics(), others=[self._connections])
        assert any(name == "mcp_proxy_build_info" for name, _ in found)
        return {name: value for (name, _), value in found.items() if name.startswith("mcp_tunnel_")}


@pytest.fixture
def scraped(tmp_path: Path) -> Scraped:
    return Scraped(tmp_path / "connections.json")


@pytest.mark.parametrize("number", [0, 1, 4, 8])
def test_the_number_and_its_age_are_shown(
    scraped: Scraped, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scraped.path.write_text(json.dumps({"readyConnections": number}))
    os.utime(scraped.path, (1_800_000_000, 1_800_000_000))
    monkeypatch.setattr("time.time", lambda: 1_800_000_042.5)
    assert scraped() == {NUMBER: number, AGE: 42.5}


@pytest.mark.parametrize("drained", [False, True])
def test_a_drained_replica_has_none_on_purpose(scraped: Scraped, drained: bool) -> None:
    scraped.path.write_text(json.dumps({"readyConnections": 0, "drained": drained}))
    found = scraped()
    assert (found[NUMBER], found[DRAINED]) == (0, drained)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (text('{"readyConnections": 4, "drained": 1}'), '"drained" is neither true nor false'),
        (text('{"readyConnections": 4, "drained": "no"}'), '"drained" is neither true nor false'),
        *UNREADABLE,
        (text(""), "not {"),
        (text("4"), "not {"),
        (text("[]"), "not {"),
        (text("{}"), "not {"),
        (text('{"readyConnections": "4"}'), "not {"),
        (text('{"readyConnections": true}'), "not {"),
        (text('{"readyConnections": -1}'), "not {"),
        (text('{"readyConnections": 1001}'), "not {"),
        (text('{"readyConnections": 4.0}'), "not {"),
        (text('{"readyConnections": NaN}'), "not {"),
        (text("[" * 200_000), "not {"),
    ],
)
def test_an_unusable_file_is_no_number(
    scraped: Scraped,
    make: Make,
    problem: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make(scraped.path)
    for _ in range(2):
        assert scraped() == {AGE: float("inf")}
    (record,) = caplog.records
    assert record.getMessage() == "tunnel connections not available"
    assert record.mcp_fields["file"] == str(scraped.path)  # type: ignore[attr-defined]
    assert record.mcp_fields["problem"].startswith(problem)  # type: ignore[attr-defined]
    assert "mcp-tunnel-connections" in record.mcp_fields["remedy"]  # type: ignore[attr-defined]


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists))
def test_no_content_breaks_the_page(
    tmp_path_factory: pytest.TempPathFactory, document: object
) -> None:
    scraped = Scraped(tmp_path_factory.getbasetemp() / "any-connections.json")
    for content in (document, {"readyConnections": document}):
        scraped.path.write_text(json.dumps(content))
        assert AGE in scraped()
