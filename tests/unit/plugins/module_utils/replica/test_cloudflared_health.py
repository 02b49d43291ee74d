"""The connector's own words, as the real one writes them (2026.8.2)."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import loopback, systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import (
    cloudflared as cloudflared_health,
)

UNIT = "mcp-cloudflared@default.service"
READY = (200, '{"status":200,"readyConnections":4,"connectorId":"x"}')
DOWN = (503, '{"status":503,"readyConnections":0,"connectorId":"x"}')
OURS = {"hostname": "", "path": None, "service": "http://127.0.0.1:8080", "Handlers": None}
# A rule's settings when nobody has given any (cloudflared, ingress/config.go).
USUAL = {
    "connectTimeout": 30,
    "tlsTimeout": 10,
    "tcpKeepAlive": 30,
    "noHappyEyeballs": False,
    "keepAliveTimeout": 90,
    "keepAliveConnections": 100,
    "httpHostHeader": "",
    "originServerName": "",
    "matchSNItoHost": False,
    "caPool": "",
    "noTLSVerify": False,
    "disableChunkedEncoding": False,
    "bastionMode": False,
    "proxyAddress": "127.0.0.1",
    "proxyPort": 0,
    "proxyType": "",
    "ipRules": None,
    "http2Origin": False,
    "access": {"teamName": "", "audTag": None},
}
START = "2026-11-28T09:00:00Z INF Starting tunnel tunnelID=6ba7b810-9dad-11d1-80b4-00c04fd430c8"
NO_UDP = (
    '2026-11-28T09:00:05Z ERR Failed to dial a quic connection error="failed to dial to edge with '
    'quic: timeout: no recent network activity" connIndex=0 event=0 ip=198.41.192.7'
)
NO_TCP = (
    "2026-11-28T09:00:20Z ERR Unable to establish connection with Cloudflare edge "
    'error="DialContext error: dial tcp 198.41.192.7:7844: i/o timeout" connIndex=0'
)


def config(*rules, version=-1):
    shown = {"version": version, "config": {"ingress": list(rules), "originRequest": {}}}
    return (200, json.dumps(shown))


@pytest.fixture
def look(monkeypatch):
    """Return the rows of a connector with this answer and this log: {layer: finding}."""

    def rows(ready=READY, shown=None, log=(), active="active"):
        answers = {"/ready": ready, "/config": shown or config(OURS)}
        monkeypatch.setattr(loopback, "get", lambda port, path, unit: answers[path])
        monkeypatch.setattr(systemd, "journal", lambda unit, lines=8: list(log))
        unit = systemd.Unit(UNIT, active, "running", True, False, True, 0)
        monkeypatch.setattr(systemd, "show", lambda names: [unit])
        found = cloudflared_health.connector(UNIT, 20241, 8080)
        return {finding.layer: finding for finding in found}

    return rows


def test_one_rule_that_leads_to_our_listener(look):
    ingress = look()["ingress"]
    assert (ingress.ok, ingress.detail) == (True, "all to http://127.0.0.1:8080")
    assert ingress.object == "http://127.0.0.1:20241/config"


def test_a_rule_without_settings_of_its_own_shows_them_all(look):
    assert look(shown=config({**OURS, "originRequest": USUAL}))["ingress"].ok


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("httpHostHeader", "wiki.example"),
        ("originServerName", "wiki.example"),
        ("matchSNItoHost", True),
        ("caPool", "/etc/other.pem"),
        ("noTLSVerify", True),
        ("disableChunkedEncoding", True),
        ("bastionMode", True),
        ("proxyAddress", "10.0.0.1"),
        ("proxyPort", 1080),
        ("proxyType", "socks"),
        ("ipRules", [{"prefix": "10.0.0.0/8", "allow": True}]),
        ("http2Origin", True),
        ("access", {"required": True, "teamName": "team", "audTag": ["a"]}),
    ],
)
def test_settings_that_lead_elsewhere_are_another_service(look, name, value):
    """Judged by its service alone, the rule leads to our listener."""
    pushed = config({**OURS, "originRequest": {**USUAL, name: value}}, version=3)
    found = look(shown=pushed)["ingress"]
    detail = f"originRequest of the rule to http://127.0.0.1:8080 sets {name}"
    assert (found.ok, found.detail) == (False, detail)
    assert found.remedy.startswith("The edge has pushed these rules")


def test_settings_for_all_rules_hold_for_one_without_any(look):
    shown = {"version": -1, "config": {"ingress": [OURS], "originRequest": {"proxyPort": 1}}}
    assert not look(shown=(200, json.dumps(shown)))["ingress"].ok


def test_times_and_numbers_of_connections_lead_nowhere_else(look):
    settings = {**USUAL, "connectTimeout": 5, "keepAliveConnections": 1, "noHappyEyeballs": True}
    assert look(shown=config({**OURS, "originRequest": settings}))["ingress"].ok


@pytest.mark.parametrize(
    ("rules", "detail"),
    [
        (
            [{**OURS, "service": "http://127.0.0.1:9999"}],
            "requests go to http://127.0.0.1:9999, not to http://127.0.0.1:8080",
        ),
        (
            [{**OURS, "service": "http_status:503"}],
            "requests go to http_status:503, not to http://127.0.0.1:8080",
        ),
        (
            [{**OURS, "hostname": "wiki.example", "service": "http://10.0.0.1:80"}, OURS],
            "2 rules instead of one; a rule for some requests only leads to http://10.0.0.1:80",
        ),
        (
            [{**OURS, "path": "^/mcp"}, {**OURS, "service": "http_status:404"}],
            "2 rules instead of one; a rule for some requests only leads to http://127.0.0.1:8080; "
            "requests go to http_status:404, not to http://127.0.0.1:8080",
        ),
        ([], "0 rules instead of one"),
    ],
)
def test_other_rules_are_a_failure_although_all_connections_are_up(look, rules, detail):
    found = look(shown=config(*rules))
    assert found["edge"].ok
    assert (found["ingress"].ok, found["ingress"].detail) == (False, detail)
    assert f"systemctl cat {UNIT}" in found["ingress"].remedy


def test_rules_that_the_edge_has_pushed_are_told_from_those_of_a_file(look):
    ingress = look(shown=config({**OURS, "service": "http://10.1.2.3:80"}, version=7))["ingress"]
    assert not ingress.ok
    assert ingress.remedy.startswith("The edge has pushed these rules")


@pytest.mark.parametrize(
    "shown",
    [
        (404, "404 page not found"),
        (200, "hello"),
        (200, '{"version":-1,"config":{}}'),
        (200, '{"version":-1,"config":{"ingress":[5]}}'),
        (200, '{"version":-1,"config":{"ingress":null}}'),
        (200, '{"version":Infinity,"config":{"ingress":[]}}'),
        (200, "[" * 100_000),
    ],
)
def test_no_configuration_is_no_good_one(look, shown):
    assert not look(shown=shown)["ingress"].ok


@pytest.mark.parametrize("body", ['{"readyConnections":Infinity}', "[" * 100_000])
def test_a_number_that_is_none_is_no_connection(look, body):
    assert not look(ready=(200, body))["edge"].ok


def test_a_connector_that_does_not_answer_is_told_once(look):
    found = look(ready=(0, "Connection refused"), shown=(0, "Connection refused"))
    assert list(found) == ["edge"]
    assert found["edge"].detail == "Connection refused"


@pytest.mark.parametrize(
    ("ready", "log", "hint"),
    [
        (DOWN, [START, NO_UDP], True),
        (DOWN, [NO_UDP], True),
        (DOWN, [START, NO_UDP, NO_TCP], False),
        (DOWN, [START, NO_TCP], False),
        # An error from before the last start is not the present one.
        (DOWN, [START, NO_UDP, START], False),
        (DOWN, [START, NO_TCP, START, NO_UDP], True),
        (READY, [START, NO_UDP], False),
        (DOWN, [], False),
    ],
)
def test_http2_is_suggested_where_udp_is_what_fails(look, ready, log, hint):
    edge = look(ready=ready, log=log)["edge"]
    assert ("cloudflared_protocol: http2" in edge.remedy) is hint
    assert ("UDP does not reach the edge" in edge.detail) is hint
