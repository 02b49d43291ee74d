from __future__ import annotations

import subprocess

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import health
from ansible_collections.mcp_tunnels.stack.plugins.modules import replica_health
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    refused,
)

GOOD = health.Finding("proxy", "http://127.0.0.1:8081/readyz", True, "ready")
BAD = health.Finding("edge", "http://127.0.0.1:20241/ready", False, "0 of 4", "Wait")
WALL = {"healthy": True, "findings": [], "rows": [], "table": ["table  ok"]}
HOLE = {**WALL, "healthy": False, "table": ["table  FAILED"], "msg": "firewall: is not loaded."}


@pytest.fixture
def options(tmp_path):
    return {
        "instance": "blue",
        "domain": "abcd.tunnel.anthropic.com",
        "routes": {"echo": "http://10.77.0.2:8000"},
        "ca_certificate_file": str(tmp_path / "ca.crt"),
        "listen_port": 8080,
        "admin_port": 8081,
        "metrics_port": 20241,
    }


@pytest.mark.parametrize(
    ("finding", "firewall", "message"),
    [
        (GOOD, WALL, None),
        (GOOD, HOLE, "firewall: is not loaded."),
        (BAD, WALL, "edge: http://127.0.0.1:20241/ready: 0 of 4. Wait."),
        (BAD, HOLE, "edge: http://127.0.0.1:20241/ready: 0 of 4. Wait.\nfirewall: is not loaded."),
    ],
)
def test_the_replica_and_its_firewall_in_one_call(
    options, tmp_path, monkeypatch, finding, firewall, message
):
    (tmp_path / "ca.crt").write_text("")
    monkeypatch.setattr(health, "examine", lambda _replica, _timeout: [finding])
    monkeypatch.setattr(replica_health, "report", lambda _host, _instance, _deploying: firewall)
    result = ensured("replica_health", **options, firewall={}, fail=False)
    assert (result["healthy"], result.get("msg")) == (message is None, message)
    assert result["table"][-1] == firewall["table"][0]
    assert len(result["table"]) == 3
    if message:
        assert refused("replica_health", **options, firewall={}) == message


def test_the_fingerprint_is_the_one_that_openssl_shows(options, tmp_path, monkeypatch, openssl_ca):
    (tmp_path / "ca.crt").write_text(openssl_ca[0])
    monkeypatch.setattr(health, "examine", lambda _replica, _timeout: [GOOD])
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", tmp_path / "ca.crt"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    expected = shown.strip().partition("=")[2].replace(":", "").lower()
    assert ensured("replica_health", **options)["ca_fingerprint"] == expected


def test_a_host_that_nothing_was_deployed_on(options):
    message = refused("replica_health", **options)
    assert "instance blue was not deployed on this host. Run the site playbook" in message
