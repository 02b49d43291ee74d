"""The last lines of a run: the addresses for Claude."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook

_TASKS = Path(__file__).resolve().parents[4] / "playbooks/tasks/next_steps.yml"
DOMAIN = "abcd1234.tunnel.example"


def test_the_address_of_a_route_has_the_domain_once(tmp_path: Path) -> None:
    """This holds for a single label, for a full name, and for the domain itself."""
    plan = {
        "mode": "wif",
        "duty": "deploy",
        "domain": DOMAIN,
        "replicas": ["host1"],
        "leader": "host1",
        "state_host": "host1",
        "routes": dict.fromkeys(["wiki", f"files.{DOMAIN}", DOMAIN], "http://10.0.0.1:80"),
    }
    steps = [{"ansible.builtin.include_tasks": str(_TASKS)}]
    status, output = run_playbook(tmp_path, steps, {"host1": {}}, mcp_tunnel_plan=plan)
    assert status == 0, output
    addresses = f"    https://{DOMAIN}, https://files.{DOMAIN}, https://wiki.{DOMAIN}"
    assert f'"{addresses}"' in output, output


def test_a_replica_that_could_not_renew_is_named_with_the_remedy(tmp_path: Path) -> None:
    plan = {
        "mode": "wif",
        "duty": "deploy",
        "domain": DOMAIN,
        "replicas": ["host1", "host2"],
        "leader": "host1",
        "state_host": "host1",
        "routes": {"wiki": "http://10.0.0.1:80"},
    }
    row = {"layer": "renewal", "object": "the timer", "ok": False}
    broken = {**row, "detail": "the signer cannot be asked", "remedy": "Let it\nin"}
    steps = [
        {"ansible.builtin.set_fact": {"__mcp_tunnel_health": "{{ {'findings': found} }}"}},
        {"ansible.builtin.include_tasks": str(_TASKS)},
    ]
    hosts = {"host1": {"found": []}, "host2": {"found": [broken]}}
    status, output = run_playbook(tmp_path, steps, hosts, mcp_tunnel_plan=plan)
    assert status == 0, output
    assert "host2 works, but could not renew its certificate by itself: the signer" in output
    assert "the signer cannot be asked. Let it in." in output
    assert "need not: the timer" not in output
