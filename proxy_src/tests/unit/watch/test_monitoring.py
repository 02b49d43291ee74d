"""The files of docs/monitoring, judged by promtool and by Grafana's own schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from mcp_proxy.watch import exposition
from mcp_proxy.watch.firewall_metrics import FirewallCounters
from mcp_proxy.watch.metrics import Metrics
from mcp_proxy.watch.tunnel_metrics import TunnelConnections
from prometheus import ROOT, SHIPPED, dashboard_queries, promtool, rules

DASHBOARD = json.loads((SHIPPED / "dashboard.json").read_text())
README = (SHIPPED / "README.md").read_text()
CASES = sorted(SHIPPED.glob("alerts*_test.yml"))
OTHERS = [FirewallCounters("/none"), TunnelConnections("/none")]
# mcp_tunnel_… of an operator are variables.
NAME = re.compile(
    r"\b(?:mcp_tunnel_drained|"
    r"(?:mcp_proxy|mcp_tunnel_firewall|mcp_tunnel_ready|process|cloudflared_tunnel)_[a-z_]+[a-z])\b"
)
#: The series of cloudflared that may be asked for: they count what has happened (2026.8.2).
OF_CLOUDFLARED = {"cloudflared_tunnel_total_requests", "cloudflared_tunnel_request_errors"}
#: Those that may not: attempts, and what once was. The page names them with the reason.
UNTRUE = {"cloudflared_tunnel_ha_connections", "cloudflared_tunnel_server_locations"}


def test_promtool_finds_nothing_wrong() -> None:
    assert f"{len(rules())} rules found" in promtool(
        "check", "rules", "--lint=all", "--lint-fatal", str(SHIPPED / "alerts.yml")
    )
    promtool("check", "config", str(SHIPPED / "prometheus.yml"))
    assert len(CASES) > 1
    promtool("test", "rules", *map(str, CASES))


def test_every_alert_is_shown_to_fire_and_not_to_fire() -> None:
    shown: dict[str, set[bool]] = {rule["alert"]: set() for rule in rules()}
    for case in (case for path in CASES for case in yaml.safe_load(path.read_text())["tests"]):
        for test in case["promql_expr_test"]:
            (alert,) = re.findall(r'alertname="(\w+)"', test["expr"])
            shown[alert].add(bool(test["exp_samples"]))
    assert {alert for alert, ways in shown.items() if ways != {True, False}} == set()


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert f"`{rule['alert']}`" in README
    assert set(re.findall(r"`(Mc\w+)`", README)) == {rule["alert"] for rule in rules()}


def test_the_page_of_metrics_follows_the_conventions() -> None:
    metrics = Metrics()
    metrics.add_route("echo")
    metrics.certificate_loaded(1_800_000_000)
    metrics.client_certificates({"echo": 1_800_000_000})
    metrics.config_loaded()
    metrics.handshake_done("TLSv1.3", "h2", resumed=False)
    page = exposition.page(metrics.snapshot(), {"0": {"open_fds": 1}}, OTHERS)
    promtool("check", "metrics", stdin=page.decode())


def exposed() -> set[str]:
    """The names of all samples that the proxy can show."""
    page = exposition.page(Metrics().snapshot(), {}, OTHERS).decode()
    names = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)", page, re.MULTILINE):
        suffixes = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
        names |= {name + suffix for suffix in suffixes}
    return names


def test_dashboard_rules_and_readme_name_only_series_that_exist() -> None:
    queries = [query for _, query in dashboard_queries()] + [rule["expr"] for rule in rules()]
    named = {name for query in queries for name in NAME.findall(query)}
    assert len(named) > 30
    assert named - exposed() == OF_CLOUDFLARED
    known = exposed() | OF_CLOUDFLARED | UNTRUE
    assert {name for name in NAME.findall(README) if f"{name}_count" not in known} <= known
    assert set(NAME.findall(README)) >= UNTRUE


def test_every_family_is_on_the_dashboard() -> None:
    """All families, except those that others make up for."""
    queries = " ".join(query for _, query in dashboard_queries())
    shown = {re.sub("_(bucket|count|sum)$", "", name) for name in NAME.findall(queries)}
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in exposed()}
    own = {name for name in families if name.startswith("mcp_")}
    assert own - shown == {
        "mcp_proxy_worker_start_time_seconds",
        "mcp_proxy_worker_virtual_memory_bytes",
    }


def lost(given: Any, understood: Any, path: str = "") -> Iterator[str]:
    """The fields in *given* that are not in *understood*."""
    if isinstance(given, dict):
        for name, value in given.items():
            if isinstance(understood, dict) and name in understood:
                yield from lost(value, understood[name], f"{path}/{name}")
            else:
                yield f"{path}/{name}"
    elif isinstance(given, list):
        if not isinstance(understood, list) or len(given) != len(understood):
            yield path
        else:
            for place, pair in enumerate(zip(given, understood)):
                yield from lost(*pair, f"{path}/{place}")
    elif given != understood:
        yield path


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    """Grafana Labs' own library reads it and writes it again, and nothing is missing."""
    plugins.register_default_plugins()
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert list(lost(DASHBOARD, again)) == []


def test_the_judge_of_the_dashboard_is_not_blind() -> None:
    plugins.register_default_plugins()
    wrong = json.loads(json.dumps(DASHBOARD))
    panel = next(panel for panel in wrong["panels"] if panel["type"] == "heatmap")
    panel["options"]["invented"] = 1
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(wrong)))
    assert [path.rpartition("/")[2] for path in lost(wrong, again)] == ["invented"]


def test_the_panels_cover_no_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("name", ["proxy_admin_port", "cloudflared_metrics_port"])
def test_the_scrape_configuration_has_the_ports_of_the_roles(name: str) -> None:
    role = "proxy" if name.startswith("proxy") else "cloudflared"
    defaults = yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text())
    assert f'["127.0.0.1:{defaults[name]}"]  # {name}' in (SHIPPED / "prometheus.yml").read_text()
