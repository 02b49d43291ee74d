from __future__ import annotations

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import refused


def test_a_host_that_nothing_was_deployed_on(tmp_path):
    message = refused(
        "replica_health",
        instance="blue",
        domain="abcd.tunnel.anthropic.com",
        routes={"echo": "http://10.77.0.2:8000"},
        ca_certificate_file=str(tmp_path / "ca.crt"),
        listen_port=8080,
        admin_port=8081,
        metrics_port=20241,
    )
    assert "instance blue was not deployed on this host. Run the site playbook" in message
