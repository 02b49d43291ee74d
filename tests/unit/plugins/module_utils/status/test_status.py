"""The status: each part by itself, the whole document, and the command around it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import rich
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.commands import mcp_tunnel
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import deployed, drain
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.finding import Finding
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.status import (
    deployment,
    document,
    health,
    parts,
    renewal,
    tables,
    traffic,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import command_source
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes import (
    stand_in_creds,
)

PROXY_YAML = """\
listen_addr: 127.0.0.1:9080
admin_addr: 127.0.0.1:9081
tunnel_domain: abcd1234.tunnel.example
routes:
  echo: http://10.0.0.1:8000
  wiki: http://10.0.0.2:8000
"""
PROXY_METRICS = """\
# TYPE mcp_proxy_requests_total counter
mcp_proxy_requests_total{route="echo",status="2xx"} 1200
mcp_proxy_requests_total{route="echo",status="5xx"} 4
mcp_proxy_requests_total{route="-",status="5xx"} 10
# TYPE mcp_proxy_requests_in_flight gauge
mcp_proxy_requests_in_flight{route="echo"} 3
# TYPE mcp_proxy_connections_open gauge
mcp_proxy_connections_open 8
# TYPE mcp_proxy_connections_refused_total counter
mcp_proxy_connections_refused_total 2
# TYPE mcp_proxy_tls_handshake_failures_total counter
mcp_proxy_tls_handshake_failures_total{reason="tls"} 1
mcp_proxy_tls_handshake_failures_total{reason="closed"} 0
# TYPE mcp_proxy_upstream_connect_failures_total counter
mcp_proxy_upstream_connect_failures_total{reason="dns",route="echo"} 1
mcp_proxy_upstream_connect_failures_total{reason="refused",route="echo"} 2
# TYPE mcp_proxy_upstream_validation_refusals_total counter
mcp_proxy_upstream_validation_refusals_total{route="wiki"} 5
# TYPE mcp_proxy_build_info gauge
mcp_proxy_build_info{openssl="3",python="3.11.2",version="1.2.3"} 1
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7964e+09
"""
CLOUDFLARED_METRICS = """\
build_info{goversion="go1.24",version="2026.10.0"} 1
cloudflared_tunnel_server_locations{connection_id="0",edge_location="fra03"} 1
cloudflared_tunnel_server_locations{connection_id="1",edge_location="ams01"} 1
cloudflared_tunnel_server_locations{connection_id="2",edge_location="fra03"} 1
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    """The directories of a host with one instance, and its records."""
    directory = tmp_path / "etc" / "default"
    (directory / "tls").mkdir(parents=True)
    (directory / "proxy.yaml").write_text(PROXY_YAML)
    (directory / "cloudflared.env").write_text("# x\nMCP_METRICS=127.0.0.1:9241\nMCP_ORIGIN=x\n")
    certificate, _key = openssl.make_ca(tmp_path / "openssl", days=100)
    (directory / "ca.crt").write_text(certificate)
    (directory / "tls" / "tls.crt").write_text(certificate)
    monkeypatch.setattr(deployed, "CONFIGURATIONS", tmp_path / "etc")
    for module in (deployed, deployment):
        monkeypatch.setattr(module, "RECORDS", tmp_path / "records")
    return tmp_path


@pytest.fixture
def answers(host, monkeypatch):
    """The answers of the services: port and path to status and body."""
    found = {
        (9081, "/metrics"): (200, PROXY_METRICS),
        (9241, "/metrics"): (200, CLOUDFLARED_METRICS),
        (9241, "/ready"): (200, '{"readyConnections": 4}'),
    }
    units = {9081: "mcp-proxy@default.service", 9241: "mcp-cloudflared@default.service"}

    def get(port, path, unit, _most):
        assert units[port] == unit
        return found[port, path]

    monkeypatch.setattr(traffic.loopback, "get", get)
    for name in ("admin_port", "metrics_port"):
        port = getattr(deployed, name)("default", host / "etc")
        monkeypatch.setattr(deployed, name, lambda _instance, port=port: port)
    return found


def replica_of(host):
    return deployed.replica("default", host / "etc", host / "opt")


def test_a_replica_is_known_by_its_own_files(host):
    found = replica_of(host)
    assert (found.listen_port, found.admin_port, found.metrics_port) == (9080, 9081, 9241)
    assert found.domain == "abcd1234.tunnel.example"
    assert found.routes == {"echo": "http://10.0.0.1:8000", "wiki": "http://10.0.0.2:8000"}
    assert found.required_routes == ["echo", "wiki"], "of an older release, which says nothing"
    remembered = host / "etc/default/required-routes.json"
    remembered.write_text(json.dumps({"required_routes": ["wiki"]}))
    assert replica_of(host).required_routes == ["wiki"]
    assert deployed.instances(host / "etc") == ["default"]
    assert deployed.instances(host / "nothing") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ECHO.: {paths: [/mcp]}}", {"echo": {"paths": ["/mcp"]}}),
        ("{wiki: {methods: [GET]}, other: {}}", {"wiki": {"methods": ["GET"]}}),
        ("[echo]", {}),
        ("{echo: 5}", {}),
    ],
)
def test_a_replica_knows_what_its_routes_let_through(host, text, expected):
    path = host / "etc/default/proxy.yaml"
    path.write_text(f"{path.read_text()}route_options: {text}\n")
    assert replica_of(host).route_options == expected


def test_a_replica_on_its_way_back_is_known_as_such(host):
    mark = drain.Mark("default", host / "etc")
    mark.write(drain.Drain("2026-11-29T04:50:00Z"))
    assert (replica_of(host).drained, replica_of(host).returning) == (str(mark.read()), "")
    mark.lift()
    assert (replica_of(host).drained, replica_of(host).returning) == ("", str(mark.returning()))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("proxy.yaml", "routes: [", "proxy.yaml, line 1: is no YAML"),
        ("proxy.yaml", "- a\n", "proxy.yaml: is no map"),
        ("proxy.yaml", "routes: {}\n", "proxy.yaml: names no port"),
        ("cloudflared.env", "\n", "cloudflared.env: names no port"),
        ("proxy.yaml", None, "proxy.yaml: is not there"),
        ("ca.crt", None, "ca.crt: is not there"),
    ],
)
def test_a_file_of_a_replica_that_is_broken_is_named(host, name, content, message):
    path = host / "etc/default" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(TunnelError, match=message):
        replica_of(host)


def test_services_are_shown_although_the_configuration_is_broken(host, monkeypatch):
    (host / "etc/default/proxy.yaml").write_text("routes: [")
    monkeypatch.setattr(health.systemd, "show", list)
    monkeypatch.setattr(
        health.health, "service", lambda unit, _release: Finding("service", unit, True, "active")
    )
    read = parts.part(lambda: health.layers("default"), health.LAYERS)
    assert [(row["layer"], row["state"]) for row in read["rows"]] == [
        ("service", "ok"),
        ("service", "ok"),
        ("configuration", "FAILED"),
    ]
    assert read["state"] == "FAILED"


def test_the_edge_by_ready_connections_not_by_places_of_the_past(answers):
    read = parts.part(lambda: traffic.edge("default"), traffic.EDGE)
    assert read["state"] == "ok"
    assert (read["connections"], read["locations"]) == (4, ["ams01", "fra03"])
    answers[9241, "/ready"] = (503, '{"readyConnections": 0}')
    read = parts.part(lambda: traffic.edge("default"), traffic.EDGE)
    assert (read["state"], read["connections"], read["locations"]) == ("FAILED", 0, [])
    answers[9241, "/ready"] = (0, "Connection refused")
    read = parts.part(lambda: traffic.edge("default"), traffic.EDGE)
    assert (read["state"], read["connections"]) == ("unknown", None)
    assert read["error"] == (
        "mcp-cloudflared@default.service does not answer at http://127.0.0.1:9241/ready: "
        "Connection refused"
    )
    answers[9241, "/ready"] = (200, '["\x1b[2J"]')
    read = parts.part(lambda: traffic.edge("default"), traffic.EDGE)
    assert read["state"] == "unknown"
    assert "\x1b" not in read["error"]


AWAY = "drained since 2026-11-29T04:50:00Z by ops on controller: new memory"


@pytest.fixture
def away(monkeypatch):
    monkeypatch.setattr(deployed, "drained", lambda _instance: AWAY)


def test_a_drained_replica_is_not_asked_for_connections(answers, away):
    del answers[9241, "/ready"]
    read = parts.part(lambda: traffic.edge("default"), traffic.EDGE)
    assert (read["state"], read["error"], read["drained"]) == ("notice", "", AWAY)
    assert read["connections"] is None


def test_a_replica_knows_that_it_is_drained(host):
    assert replica_of(host).drained == ""
    (host / "etc/default/drained").write_text("")
    assert replica_of(host).drained.startswith("drained since 2")


@pytest.mark.parametrize("purpose", ["drained", "maintenance"])
def test_what_an_operator_has_taken_out_of_service_is_worth_a_look(host, monkeypatch, purpose):
    (host / "etc/default/drained").write_text("")
    found = [
        Finding("service", "x.service", True, AWAY, purpose=purpose),
        Finding("proxy", "x", True, "ready"),
    ]
    monkeypatch.setattr(health, "_examined", lambda _replica: found)
    monkeypatch.setattr(health.deployed, "replica", lambda _instance: None)
    read = parts.part(lambda: health.layers("default"), health.LAYERS)
    assert [row["state"] for row in read["rows"]] == [purpose, "ok"]
    assert read["state"] == "notice"
    assert parts.is_healthy([read["state"]])


@pytest.mark.parametrize("figure", ["+Inf", "1e999", "NaN"])
def test_a_figure_that_is_none_hides_only_its_part(answers, figure):
    page = PROXY_METRICS.replace("connections_open 8", f"connections_open {figure}")
    answers[9081, "/metrics"] = (200, page)
    read = parts.part(lambda: traffic.traffic("default"), traffic.TRAFFIC)
    assert read["state"] == "unknown"
    answers[9241, "/ready"] = (200, '{"readyConnections": Infinity}')
    assert parts.part(lambda: traffic.edge("default"), traffic.EDGE)["state"] == "unknown"


def test_requests_and_refusals(answers):
    read = parts.part(lambda: traffic.traffic("default"), traffic.TRAFFIC)
    assert read["state"] == "ok"
    assert read["since"] == "2026-12-04T16:00:00Z"
    assert read["requests"] == 1214
    assert read["routes"]["echo"] == {"2xx": 1200, "3xx": 0, "4xx": 0, "5xx": 4}
    assert (read["in_flight"], read["connections_open"], read["connections_refused"]) == (3, 8, 2)
    assert read["handshake_failures"] == {"tls": 1}
    assert read["connect_failures"] == {"echo": 3}
    assert read["validation_refusals"] == {"wiki": 5}
    running = traffic.running("default")
    assert running == {"proxy_running": "1.2.3", "cloudflared_running": "2026.10.0"}


@pytest.mark.parametrize(
    ("left", "state"), [(99, "ok"), (89, "notice"), (1, "notice"), (0, "FAILED"), (-2, "FAILED")]
)
def test_a_certificate_by_the_days_that_remain(host, left, state):
    """It is its own CA here, whose end is worth a look 90 days before."""
    pem = (host / "etc/default/tls/tls.crt").read_text()
    now = crypto.not_after(crypto.load_certificate(pem, "x")) - timedelta(days=left, seconds=1)
    read = parts.part(lambda: deployment.certificate("default", now), deployment.CERTIFICATE)
    assert read["state"] == state
    assert read["days_left"] == left
    said = openssl.run("x509", "-noout", "-fingerprint", "-sha256", stdin=pem)
    assert said.strip().rpartition("=")[2].replace(":", "").lower() == read["fingerprint"]
    assert bool(read["remedy"]) == (state != "ok")


def test_a_certificate_that_cannot_be_read(host):
    (host / "etc/default/tls/tls.crt").write_text("x")
    now = crypto.utc_now()
    read = parts.part(lambda: deployment.certificate("default", now), deployment.CERTIFICATE)
    assert read["state"] == "unknown"
    assert "tls.crt: is not a PEM certificate" in read["error"]
    assert read["remedy"]


def test_the_key_by_which_each_secret_is_encrypted(host, monkeypatch, tmp_path):
    stand_in_creds.install(monkeypatch, tmp_path / "bin", tpm=True)
    monkeypatch.setattr(deployment, "STATES", host / "state")
    (host / "state/default").mkdir(parents=True)
    (host / "etc/default/tunnel-token").write_bytes(at_rest.seal(b"x", "tunnel-token", "host"))
    (host / "state/default/ca.key").write_bytes(at_rest.seal(b"x", "ca.key", "tpm2"))
    (host / "etc/default/tls/tls.key").write_text("-----BEGIN PRIVATE KEY-----")
    read = parts.part(lambda: deployment.secrets("default"), deployment.SECRETS)
    assert read == {"state": "ok", "error": "", "token": "host", "key": "none", "ca_key": "tpm2"}
    shutil.rmtree(host / "state")
    read = parts.part(lambda: deployment.secrets("default"), deployment.SECRETS)
    assert (read["state"], read["ca_key"]) == ("ok", "")


def test_the_last_run_is_proven_if_what_was_applied_is_what_is_good(host, monkeypatch):
    looks = {"last": {"at": 1_796_400_000, "totals": {}}}
    monkeypatch.setattr(deployment.FirewallRecords, "looks", lambda _self, _instance: looks)
    directory = host / "records/default"
    directory.mkdir(parents=True)
    for name in ("applied", "good"):
        (directory / f"{name}.json").write_text('{"mcp-proxy@default.service": {"version": "1"}}')
        os.utime(directory / f"{name}.json", (1_796_400_060, 1_796_400_060))
    read = parts.part(lambda: deployment.last_run("default"), deployment.LAST_RUN)
    assert (read["state"], read["proven"]) == ("ok", True)
    assert read["started_at"] == "2026-12-04T16:00:00Z"
    assert read["applied_at"] == read["proven_at"] == "2026-12-04T16:01:00Z"
    (directory / "applied.json").write_text('{"mcp-proxy@default.service": {"version": "2"}}')
    read = parts.part(lambda: deployment.last_run("default"), deployment.LAST_RUN)
    assert (read["state"], read["proven"]) == ("notice", False)
    assert "a run has failed or was interrupted. Run the site playbook" in read["remedy"]
    shutil.rmtree(directory)
    read = parts.part(lambda: deployment.last_run("default"), deployment.LAST_RUN)
    assert (read["state"], read["proven"], read["proven_at"]) == ("notice", False, "")


def test_what_was_deployed_to_a_drained_replica_is_proven_when_it_is_back(host, monkeypatch, away):
    monkeypatch.setattr(deployment.FirewallRecords, "looks", lambda _self, _instance: {})
    read = parts.part(lambda: deployment.last_run("default"), deployment.LAST_RUN)
    assert (read["state"], read["proven"]) == ("notice", False)
    assert "Run undrain.yml" in read["remedy"]


EXEC = (
    "ExecStart={ path=/opt/x/mcp-tunnel-renew-cert ; argv[]=/opt/x/mcp-tunnel-renew-cert"
    " --instance default --domain abcd1234.tunnel.example --renew-before 30d --duration 90d"
    " --route echo --route a.b.abcd1234.tunnel.example ; ignore_errors=no ; start_time=[n/a] ;"
    " stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }\n"
)


@pytest.fixture
def timer(host, monkeypatch):
    """The renewal's timer, which runs; systemd's answers by verb and property."""
    name = "mcp-tunnel-renew-cert@default"
    shown = {
        f"{name}.timer": "LoadState=loaded\nActiveState=active\n",
        "ExecStart": EXEC,
        "NextElapseUSecRealtime": "NextElapseUSecRealtime=Mon 2026-11-30 03:12:45 UTC\n",
    }

    def systemctl(_verb, option, unit, **_more):
        return shown.get(option.partition("=")[2]) or shown[unit]

    monkeypatch.setattr(systemd, "systemctl", systemctl)
    monkeypatch.setattr(renewal, "RECORDS", host / "records")
    renewal._asked.cache_clear()
    return shown


@pytest.fixture
def questions(monkeypatch):
    """The questions that reach the state host, which answers each, or refuses if a test says so."""
    asked = []

    def ask(path, question, seconds):
        asked.append((path, question, seconds))
        if len(asked) > 1:
            raise TunnelError("on the state host, the replica", "accepts 1h", "Do this")
        return "would sign until 2027-03-01T00:00:00Z"

    monkeypatch.setattr(renewal.timer.signing_channel, "ask", ask)
    return asked


def test_the_renewal_is_asked_for_on_the_terms_of_its_unit(host, timer, questions):
    records = host / "records/default"
    records.mkdir(parents=True)
    (records / "renewal.json").write_text("{}")
    os.utime(records / "renewal.json", (1_796_400_060, 1_796_400_060))
    read = parts.part(lambda: renewal.renewal("default"), renewal.RENEWAL)
    assert (read["state"], read["wanted"], read["would_sign"]) == ("ok", True, True)
    assert read["next_look_at"] == "2026-11-30T03:12:45Z"
    assert read["last_success_at"] == "2026-12-04T16:01:00Z"
    certificate = crypto.load_certificate((host / "etc/default/tls/tls.crt").read_text(), "x")
    assert read["due_at"] == crypto.timestamp(crypto.not_after(certificate) - timedelta(days=30))
    ((path, question, seconds),) = questions
    assert path == "/run/mcp-tunnel-signing/default"
    assert question.verb == "check"
    assert question.terms.text().splitlines() == [
        "instance default",
        "duration 90d",
        f"ca {crypto.fingerprint(certificate)}",
        "names *.abcd1234.tunnel.example abcd1234.tunnel.example a.b.abcd1234.tunnel.example",
    ]
    # The whole status has 20 seconds in an archive for support.
    assert seconds <= 10
    # A second look of --watch does not ask again.
    assert parts.part(lambda: renewal.renewal("default"), renewal.RENEWAL) == read
    assert len(questions) == 1


def test_a_renewal_that_is_refused_is_a_notice(timer, questions):
    questions.append("the first one")
    read = parts.part(lambda: renewal.renewal("default"), renewal.RENEWAL)
    assert (read["state"], read["would_sign"]) == ("notice", False)
    assert read["detail"] == "on the state host, the replica accepts 1h"
    assert read["last_success_at"] == ""
    text = shown(example(renewal=read))
    assert "notice  renewal: on the state host, the replica accepts 1h\n        -> Do this." in text
    assert "the state host WOULD NOT SIGN; no success yet" in text


@pytest.mark.parametrize(
    ("name", "said", "detail"),
    [
        ("mcp-tunnel-renew-cert@default.timer", "LoadState=loaded\nActiveState=failed", "failed"),
        ("ExecStart", "ExecStart=\n", ".service does not say --domain"),
    ],
)
def test_a_renewal_that_cannot_be_is_a_notice(timer, questions, name, said, detail):
    timer[name] = said
    read = parts.part(lambda: renewal.renewal("default"), renewal.RENEWAL)
    assert (read["state"], read["wanted"], read["would_sign"]) == ("notice", True, False)
    assert read["detail"].endswith(detail)
    assert "Run the site playbook" in read["remedy"]
    assert questions == []


def test_a_renewal_by_runs_alone_is_no_problem(timer, questions):
    timer["mcp-tunnel-renew-cert@default.timer"] = "LoadState=not-found\nActiveState=inactive\n"
    read = parts.part(lambda: renewal.renewal("default"), renewal.RENEWAL)
    assert (read["state"], read["wanted"], read["would_sign"]) == ("ok", False, None)
    assert questions == []
    text = shown(example(renewal=read))
    assert "renewal      ok  by runs alone (mcp_tunnel_cert_renew_timer is false)" in text


@pytest.mark.parametrize(
    "failure",
    [
        TunnelError("/etc/x", "is broken", "Mend it"),
        traffic.Unread("x does not answer"),
        PermissionError(13, "Permission denied", "/var/lib/x"),
        ValueError("x"),
        KeyError("x"),
    ],
)
def test_a_part_that_cannot_be_read_says_why_and_hides_nothing(monkeypatch, failure):
    def fail(*_arguments):
        raise failure

    monkeypatch.setattr(document.health, "firewall", fail)
    read = document.look(["none-such"])
    (instance,) = read["instances"]
    assert instance["firewall"]["state"] == "unknown"
    assert instance["firewall"]["error"]
    assert instance["firewall"].keys() >= health.FIREWALL.keys()
    assert set(document.ORDER) <= instance.keys()
    assert read["healthy"] is False


def test_a_host_without_an_instance_is_not_healthy():
    assert document.look([])["healthy"] is False


def example(**changes):
    """Return a document with one instance, as look() makes it; *changes* are of its parts."""
    instance = {
        "instance": "default",
        "domain": "abcd1234.tunnel.example",
        "healthy": not changes,
        "layers": {"state": "ok", "error": "", "rows": [row("edge", "ok", "4 of 4 connections")]},
        "certificate": {
            **deployment.CERTIFICATE,
            **{"state": "ok", "error": "", "fingerprint": "ab" * 32, "days_left": 60},
            **{"not_after": "2027-02-01T00:00:00Z", "ca_days_left": 900},
        },
        "secrets": {**{"state": "ok", "error": ""}, "token": "tpm2", "key": "none", "ca_key": ""},
        "renewal": {
            **renewal.RENEWAL,
            **{"state": "ok", "error": "", "wanted": True, "due_at": "2027-01-02T00:00:00Z"},
            **{"next_look_at": "2026-11-30T03:00:00Z", "last_success_at": "2026-11-29T00:00:00Z"},
            **{"would_sign": True, "detail": "the state host would sign until then"},
        },
        "edge": {
            **traffic.EDGE,
            **{"state": "ok", "error": "", "connections": 4, "locations": ["fra03"]},
        },
        "traffic": {
            **traffic.TRAFFIC,
            **{"state": "ok", "error": "", "since": "2026-11-28T05:00:00Z", "requests": 7},
            **{"in_flight": 0, "connections_open": 4, "connections_refused": 0},
        },
        "firewall": {
            **{"state": "ok", "error": "", "loaded": True, "on_trial": False, "proven": True},
            **{"refused": {"a": 5}, "refused_since": {"a": 2}, "rows": []},
        },
        "versions": {**deployment.VERSIONS, "state": "ok", "error": "", "cloudflared": "cd" * 32},
        "last_run": {
            **deployment.LAST_RUN,
            **{"state": "ok", "error": "", "proven": True},
            **{"started_at": "2026-11-29T03:00:00Z", "proven_at": "2026-11-29T03:01:00Z"},
        },
    }
    return {
        "format": 1,
        "host": "replica1",
        "at": "2026-11-29T05:00:00Z",
        "healthy": not changes,
        "python": "3.11.2",
        "releases": {"proxy": "", "cloudflared": ""},
        "instances": [{**instance, **changes}],
    }


def row(layer, state, detail, remedy=""):
    return {
        **{"layer": layer, "object": "an object", "state": state, "detail": detail},
        **{"remedy": remedy, "unit": ""},
    }


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def shown(read, stream=None):
    stream = stream or io.StringIO()
    tables.show(read, tables.console(stream))
    return stream.getvalue()


BROKEN = {
    "layers": {"state": "FAILED", "error": "", "rows": [row("edge", "FAILED", "0 of 4", "Go")]}
}


def test_the_verdict_and_the_remedies_come_first():
    lines = shown(example(**BROKEN)).splitlines()
    assert lines[0] == "NOT HEALTHY  replica1  2026-11-29 05:00:00 UTC"
    assert lines[2] == "instance default  abcd1234.tunnel.example  NOT HEALTHY"
    assert lines[4:6] == ["FAILED  edge an object: 0 of 4", "        -> Go."]
    assert shown(example()).startswith("HEALTHY  replica1")


def test_a_part_that_cannot_be_read_is_a_problem_unless_its_layer_has_told():
    unread = {"edge": {"state": "unknown", "error": "x does not answer", "connections": None}}
    text = shown(example(**unread))
    assert "unknown  edge: x does not answer" in text
    assert "edge         unknown  cannot be read, see above" in text
    text = shown(example(**unread, **BROKEN))
    assert "x does not answer" not in text
    assert "FAILED  edge an object: 0 of 4" in text
    assert "edge         unknown  cannot be read, see above" in text


def test_a_drained_replica_is_shown_as_one():
    edge = {**traffic.EDGE, "state": "notice", "error": "", "drained": AWAY}
    layers = {"state": "notice", "error": "", "rows": [row("service", "drained", AWAY)]}
    text = shown(example(edge=edge, layers=layers))
    assert f"drained  service an object: {AWAY}" in text
    assert "edge         notice  away from it, because the replica is drained" in text


def test_every_figure_is_at_a_glance():
    text = shown(example())
    for words in (
        "edge         ok  4 of 4 connections (fra03)",
        "certificate  ok  60 d left, until 2027-02-01 00:00:00 UTC; its CA 900 d left",
        "secrets      ok  tunnel token encrypted (tpm2), own key in clear\n",
        f"\nfingerprint  {'ab' * 32}\n",
        "renewal      ok  due 2027-01-02 00:00:00 UTC; the state host would sign; last success 2026"
        "-11-29 00:00:00 UTC (5 h ago); next look 2026-11-30 03:00:00 UTC",
        "traffic      ok  7 requests since 2026-11-28 05:00:00 UTC (24 h ago); 0 in flight; 4 conn",
        "firewall     ok  loaded, proven; 5 packets refused, 2 since the last run (a 2)",
        "versions     ok  cloudflared (cdcdcdcdcdcd...), proxy unknown, Python 3.11.2",
        "last run     ok  began 2026-11-29 03:00:00 UTC (2 h ago); proven since 2026-11-29 03",
    ):
        assert words in text, words


def test_without_a_terminal_no_colour_no_folded_line_and_no_blank_at_an_end(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    long = {"layers": {"state": "ok", "error": "", "rows": [row("edge", "ok", "x" * 900)]}}
    text = shown(example(**long))
    assert "\x1b" not in text
    assert "x" * 900 in text
    assert [line for line in text.splitlines() if line != line.rstrip()] == []


def test_a_fingerprint_is_whole_on_a_terminal_of_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert f"fingerprint  {'ab' * 32}\n" in shown(example(), Terminal())


def test_colours_on_a_terminal_unless_they_are_unwanted(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    assert "\x1b[1;31mNOT HEALTHY" in shown(example(**BROKEN), Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown(example(**BROKEN), Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown(example(**BROKEN), Terminal())


def test_text_of_others_is_neither_markup_nor_an_order_to_the_terminal():
    hostile = parts.clean([row("route", "FAILED", "[bold]x[/] :smile: \x1b]0;owned\x07\x9b2J")])
    read = example(layers={"state": "FAILED", "error": "", "rows": hostile})
    text = shown(read)
    assert "[bold]x[/] :smile: \\x1b]0;owned\\x07\\x9b2J" in text


def run(monkeypatch, capsys, *arguments, healthy=True):
    """Return exit status and both outputs of the command over a host with one instance."""
    read = example() if healthy else example(**BROKEN)
    monkeypatch.setattr(mcp_tunnel.deployed, "instances", lambda *_root: ["default"])
    monkeypatch.setattr(mcp_tunnel.document, "look", lambda _names: read)
    try:
        status = mcp_tunnel.main(list(arguments))
    except SystemExit as end:
        status = end.code
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.fixture(autouse=True)
def signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_exit_status_is_the_verdict(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "status")[0] == 0
    assert run(monkeypatch, capsys, "status", healthy=False)[0] == 1
    status, out, _err = run(monkeypatch, capsys, "status", "--json", healthy=False)
    assert status == 1
    assert json.loads(out) == example(**BROKEN)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["status", "--json", "--watch"],
        ["status", "--watch", "0"],
        ["status", "--watch", "x"],
        ["status", "--instance", "../x"],
        ["support", "--json"],
    ],
)
def test_a_command_that_is_not_understood(monkeypatch, capsys, arguments):
    status, out, err = run(monkeypatch, capsys, *arguments)
    assert (status, out) == (2, "")
    assert "usage: mcp-tunnel" in err


def test_an_instance_that_is_not_here(monkeypatch, capsys):
    status, out, err = run(monkeypatch, capsys, "status", "--instance", "other")
    assert (status, out) == (1, "")
    assert err == "instance 'other': is not on this host. Here is default.\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "/etc/x"), "Run it as root."),
        (OSError(28, "No space left on device", "/x"), "device. Look at that path and its file"),
    ],
)
def test_what_the_system_refuses(monkeypatch, capsys, error, said):
    def fail(_names):
        raise error

    monkeypatch.setattr(mcp_tunnel.deployed, "instances", lambda *_root: ["default"])
    monkeypatch.setattr(mcp_tunnel.document, "look", fail)
    monkeypatch.setattr(mcp_tunnel.os, "geteuid", lambda: 1000)
    assert mcp_tunnel.main(["status"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"{error.filename}: {error.strerror}. ")
    assert said in told


COMMAND = """
import os, sys
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.commands import mcp_tunnel
mcp_tunnel.deployed.instances = lambda *_root: []
sys.exit(mcp_tunnel.main(sys.argv[1:]))
"""


def started(*arguments, **more):
    collections = str(Path(mcp_tunnel.__file__).parents[6])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([collections, *sys.path])}
    command = [sys.executable, "-c", COMMAND, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, **more)


def heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_watching_ends_by_a_signal(number, status):
    # The children of a shell's background job ignore SIGINT.
    process = started("status", "--watch", "1", preexec_fn=heed_interrupts)
    seen = [process.stdout.readline() for _line in range(4)]
    assert seen[0].startswith("NOT HEALTHY")
    assert seen[3].startswith("NOT HEALTHY"), "it has looked again"
    process.send_signal(number)
    assert process.wait(60) == status


def test_a_reader_that_has_seen_enough_is_no_error():
    process = started("status", "--watch", "1", stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == ""


def test_it_runs_without_ansible(tmp_path):
    """Its launcher runs it like this, in an isolated Python with only its release's content."""
    source = Path(mcp_tunnel.__file__).parents[1]
    package = tmp_path / command_source.PACKAGE.replace(".", "/")
    for path in command_source.needed_files(source, "commands.mcp_tunnel"):
        copy = package / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    libraries = str(Path(rich.__file__).parents[1])
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {libraries!r}]\n"
        f"from {command_source.PACKAGE}.commands.mcp_tunnel import main\n"
        "code = main(['status', '--instance', 'nowhere'])\n"
        "sys.exit(code if 'ansible' not in sys.modules else 'ansible was imported')"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=False
    )
    assert "instance 'nowhere': is not on this host" in done.stderr
    assert (done.returncode, done.stdout) == (1, "")
