"""The comparison of machines as Ansible runs it, without any connection."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook

SECOND = {
    "mcp_tunnel_instance": "second",
    "proxy_listen_port": 9080,
    "proxy_admin_port": 9081,
    "cloudflared_metrics_port": 9241,
}
FACTS = {"remembered": {"state_host": "", "replicas": []}, "drained": False}
MACHINES = {"a": "x", "a-lab": "x", "b": "y"}


@pytest.fixture
def compare(tmp_path):
    """Run the comparison over hosts (name to variables): (exit status, output)."""
    answers = {
        name: {"facts": {**FACTS, "machine": machine, "identity": machine}}
        for name, machine in MACHINES.items()
    }
    tasks = [
        {
            "mcp_tunnels.stack.settings": {},
            "register": "__mcp_tunnel_settings",
            "no_log": True,
        },
        {
            "mcp_tunnels.stack.group": {},
            "register": "__mcp_tunnel_group",
            "run_once": True,
        },
        {
            "mcp_tunnels.stack.preflight": {"fail": False},
            "register": "mcp_tunnel_plan",
            "no_log": True,
        },
        {"mcp_tunnels.stack.reached": {}, "run_once": True},
    ]

    def run(hosts):
        given = {
            name: {**variables, "__mcp_tunnel_host": answers[name]}
            for name, variables in hosts.items()
        }
        return run_playbook(tmp_path, tasks, given, mcp_tunnel_token="")

    return run


def test_two_names_of_one_machine(compare):
    status, output = compare({"a": {}, "b": {}, "a-lab": {"cloudflared_metrics_port": 9241}})
    assert status != 0
    assert "port 8080: used twice on one machine: by a (proxy_listen_port) and a-lab" in output
    assert "nothing was changed on any host" in output
    assert "they have the same /etc/machine-id, the same boot and the same process 1" in output
    assert "20241" not in output


def test_two_instances_on_one_machine(compare):
    status, output = compare({"a": {}, "b": {}, "a-lab": SECOND})
    assert status == 0, output
