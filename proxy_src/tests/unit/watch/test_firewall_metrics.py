from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from exposed import samples
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.watch.firewall_metrics import FirewallCounters
from mcp_proxy.watch.metrics import Metrics
from root_files import UNREADABLE, Make, text

# As nft 1.0.6 prints it.
NFT = """\
{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", \
"json_schema_version": 1}}, {"counter": {"family": "inet", "name": "proxy/refused", \
"table": "mcp_tunnel", "handle": 1, "packets": 0, "bytes": 0}}, {"counter": {"family": "inet", \
"name": "proxy/upstreams/default", "table": "mcp_tunnel", "handle": 2, "packets": 17, \
"bytes": 2048}}, {"counter": {"family": "inet", "name": "cloudflared/edge_v4/lab-2", \
"table": "mcp_tunnel", "handle": 3, "packets": 3, "bytes": 180}}]}
"""
AGE = "mcp_tunnel_firewall_counters_age_seconds"


class Scraped:
    """The samples that /metrics shows of the file at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._counters = FirewallCounters(str(path))

    def __call__(self) -> dict[tuple[str, ...], float]:
        """(name, who, rule, instance) to value, of the firewall's samples alone."""
        found = samples(Metrics(), others=[self._counters])
        assert any(name == "mcp_proxy_build_info" for name, _ in found)
        return {
            (
                name,
                *(dict(labels).get(label, "") for label in ("who", "rule", "mcp_tunnel_instance")),
            ): value
            for (name, labels), value in found.items()
            if name.startswith("mcp_tunnel_firewall_")
        }

    def age(self) -> float:
        return self()[AGE, "", "", ""]


@pytest.fixture
def scraped(tmp_path: Path) -> Scraped:
    return Scraped(tmp_path / "counters.json")


def counter(**changes: object) -> str:
    """The smallest document with one counter."""
    item = {"name": "proxy/refused", "packets": 1, "bytes": 40, **changes}
    return json.dumps({"nftables": [{"counter": item}]})


def test_every_counter_is_shown_by_who_rule_and_instance(scraped: Scraped) -> None:
    scraped.path.write_text(NFT)
    found = scraped()
    del found[AGE, "", "", ""]
    packets, size = "mcp_tunnel_firewall_packets_total", "mcp_tunnel_firewall_bytes_total"
    assert found == {
        (packets, "proxy", "refused", ""): 0,
        (size, "proxy", "refused", ""): 0,
        (packets, "proxy", "upstreams", "default"): 17,
        (size, "proxy", "upstreams", "default"): 2048,
        (packets, "cloudflared", "edge_v4", "lab-2"): 3,
        (size, "cloudflared", "edge_v4", "lab-2"): 180,
    }


def test_the_age_is_that_of_the_file(scraped: Scraped, monkeypatch: pytest.MonkeyPatch) -> None:
    scraped.path.write_text(NFT)
    os.utime(scraped.path, (1_800_000_000, 1_800_000_000))
    monkeypatch.setattr("time.time", lambda: 1_800_000_042.5)
    assert scraped.age() == 42.5
    monkeypatch.setattr("time.time", lambda: 1_799_999_000.0)  # the clock was set back
    assert scraped.age() == 0


def test_a_new_file_is_seen_at_the_next_scrape(scraped: Scraped) -> None:
    for packets in (1, 2):
        new = scraped.path.with_suffix(".new")
        new.write_text(counter(packets=packets))
        new.replace(scraped.path)
        assert scraped()["mcp_tunnel_firewall_packets_total", "proxy", "refused", ""] == packets


def test_counters_of_others_are_left_out(scraped: Scraped) -> None:
    names = ["mine", "a/b/c/d", "a//b", "/a", 'a/b"} 1', "a/b\nevil 1", "\ud800/b", "a/" + "b" * 99]
    items = [{"counter": {"name": name, "packets": 1, "bytes": 1}} for name in names]
    scraped.path.write_text(json.dumps({"nftables": [*items, {"set": {}}]}))
    assert [key for key in scraped() if key[0] != AGE] == []
    assert scraped.age() < float("inf")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        *UNREADABLE,
        (text(""), "not what `nft --json list counters` prints"),
        (text(NFT[:200]), "not what"),
        (text("[]"), "not what"),
        (text('{"nftables": 1}'), "not what"),
        (text('{"nftables": [1]}'), "not what"),
        (text('{"nftables": ["counter"]}'), "not what"),
        (text('{"nftables": [{"counter": {}}]}'), "not what"),
        (text(counter(name=7)), "not what"),
        (text(counter(packets=-1)), "not what"),
        (text(counter(packets="1")), "not what"),
        (text(counter(packets=True)), "not what"),
        (text(counter(packets=float("nan"))), "not what"),
        (text(counter(bytes=1 << 64)), "not what"),
        (text("[" * 200_000), "not what"),
        (text('{"nftables": ' + "9" * 9000 + "}"), "not what"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not what"),
    ],
)
def test_an_unusable_file_costs_nothing_but_itself(
    scraped: Scraped,
    make: Make,
    problem: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make(scraped.path)
    for _ in range(2):
        assert scraped() == {(AGE, "", "", ""): float("inf")}
    (record,) = caplog.records
    assert record.getMessage() == "firewall counters not available"
    assert record.mcp_fields["file"] == str(scraped.path)  # type: ignore[attr-defined]
    assert record.mcp_fields["problem"].startswith(problem)  # type: ignore[attr-defined]


def test_every_change_is_logged_once(scraped: Scraped, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mcp_proxy")
    for content in (NFT, NFT, "", "", NFT, NFT):
        scraped.path.write_text(content)
        scraped()
    assert [record.getMessage() for record in caplog.records] == [
        "firewall counters not available",
        "firewall counters available",
    ]


_KEYS = st.sampled_from(["nftables", "counter", "name", "packets", "bytes"])
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_JSON = st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner))


@given(_JSON, st.integers(0, len(NFT)))
def test_no_content_breaks_the_page(
    tmp_path_factory: pytest.TempPathFactory, document: object, cut: int
) -> None:
    scraped = Scraped(tmp_path_factory.getbasetemp() / "any.json")
    for content in (json.dumps(document), NFT[:cut] + json.dumps(document) + NFT[cut:]):
        scraped.path.write_text(content)
        assert (AGE, "", "", "") in scraped()
