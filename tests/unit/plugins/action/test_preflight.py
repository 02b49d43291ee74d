"""The preflight as Ansible runs it: real playbook runs, without any connection."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.action.preflight import check_library
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import make_token
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good

SECOND = {
    "mcp_tunnel_instance": "second",
    "proxy_listen_port": 9080,
    "proxy_admin_port": 9081,
    "cloudflared_metrics_port": 9241,
}
COMPARE = {
    "mcp_tunnels.stack.group": None,
    "register": "__mcp_tunnel_group",
    "run_once": True,
}


@pytest.fixture
def preflight(tmp_path):
    """Run the preflight over hosts (name to variables): (exit status, output)."""
    tasks = [
        {
            "mcp_tunnels.stack.settings": None,
            "register": "__mcp_tunnel_settings",
            "no_log": True,
        },
        COMPARE,
        {"mcp_tunnels.stack.preflight": None, "register": "mcp_tunnel_plan"},
    ]

    def run(hosts, *arguments, **group):
        return run_playbook(tmp_path, tasks, hosts, *arguments, **group)

    return run


def plans(output):
    """Return the plan of each host, from the output of the task."""
    found = {}
    for chunk in output.split("ok: [")[1:]:
        name, _bracket, rest = chunk.partition("] => ")
        answer = json.JSONDecoder().raw_decode(rest)[0]
        if "instance" in answer:
            found[name] = answer
    return found


def test_good_hosts_get_a_plan_without_a_connection(preflight):
    hosts = {"a": {}, "b": {"ansible_host": "b.example"}, "b2": {"ansible_host": "b.example"}}
    hosts["b2"].update(SECOND)
    status, output = preflight(hosts)
    assert status == 0, output
    assert plans(output)["b2"]["state_host"] == "b2"
    plan = plans(output)["b"]
    assert plan["state_host"] == plan["leader"] == "a"
    assert plan["replicas"] == ["a", "b"]
    assert plan["config_dir"] == "/etc/mcp-tunnel/default"
    assert plan["ports"]["proxy_listen_port"] == 8080


def test_a_version_with_a_known_fault_is_told_once(preflight):
    hosts = {"a": {}, "b": {"ansible_host": "b.example"}}
    status, output = preflight(hosts)
    told = " ".join(output.split())
    assert status == 0
    assert told.count("[WARNING]: cloudflared_version: 2026.10.0 trusts intermediate") == 1
    assert "Another version of cloudflared" in told
    status, output = preflight(hosts, cloudflared_known_bad="accept")
    assert (status, "2026.10.0 trusts" in output) == (0, False)
    status, output = preflight(hosts, cloudflared_known_bad="refuse")
    assert (status != 0, output.count("2026.10.0 trusts") >= 2) == (True, True)


def test_with_a_limit_the_state_host_stays_and_another_host_leads(preflight):
    status, output = preflight({"a": {}, "b": {}}, "--limit", "b")
    assert status == 0, output
    assert (plans(output)["b"]["state_host"], plans(output)["b"]["leader"]) == ("a", "b")


def test_all_errors_of_all_hosts_come_at_once(preflight):
    hosts = {"a": {"mcp_tunnel_routes": ["x"]}, "b": {"proxy_listen_port": 1}}
    hosts["c"] = {"ansible_host": "a", "mcp_tunnel_instance": "second"}
    status, output = preflight(hosts, cloudflared_loglevel="loud")
    assert status != 0
    assert "problems in the variables of a; no host was touched" in output
    assert "used twice on one machine" in output
    assert output.count("mcp_tunnel_routes: must be a map") == 1, "once for the host, not twice"
    assert "proxy_listen_port: must be a port, is 1" in output
    assert output.count("cloudflared_loglevel: is 'loud'. Use one of debug, info,") >= 3
    assert plans(output) == {}


@pytest.fixture
def together(tmp_path):
    """Run the preflight as playbooks do, over hosts (name to variables): (exit status, output)."""
    playbooks = Path(__file__).parents[4] / "playbooks"
    include = {
        "ansible.builtin.include_tasks": str(playbooks / "tasks/preflight.yml"),
        "vars": {"__mcp_tunnel_duty": "deploy"},
    }

    def run(hosts, *arguments, any_errors_fatal=True, **group):
        block = {"block": [include], "any_errors_fatal": any_errors_fatal}
        after = {"ansible.builtin.debug": {"msg": "gone on: {{ inventory_hostname }}"}}
        return run_playbook(tmp_path, [block, after], hosts, *arguments, **group)

    return run


def refusals(output):
    """Host to its refusal, on one line."""
    _head, *parts = re.split(r"fatal: \[(\w+)\]: ", output)
    return {name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2])}


def ten_hosts():
    names = [f"h{number:02}" for number in range(10)]
    hosts = {name: {"ansible_host": f"{name}.example"} for name in names}
    hosts["h03"]["proxy_listen_port"] = 1
    for name in names[4:]:
        hosts[name]["proxy_workers"] = 999
    return hosts


def test_a_problem_of_the_group_is_told_by_its_first_host(together):
    status, output = together(ten_hosts(), cloudflared_loglevel="loud")
    told = refusals(output)
    assert status != 0
    assert sorted(told) == ["h00", "h03", "h04"], "those that have something to tell"
    assert "1 problem in the variables of h00; no host was touched" in told["h00"]
    assert "warn, error, fatal. (all 10 hosts)" in told["h00"]
    assert "2 problems in the variables of h03; no host was touched" in told["h03"]
    assert "proxy_listen_port: " in told["h03"]
    assert "1 problem that h00 has, too: see there" in told["h03"]
    assert "(h04, h05, h06, h07, h08 and 1 more)" in told["h04"]
    # With -vvv, the result of each host comes before.
    refused = output[output.index("fatal: [") :]
    assert refused.count("cloudflared_loglevel: is 'loud'") == 1
    assert refused.count("proxy_workers: ") == 1
    assert "gone on: " not in output


def test_each_host_fails_where_the_others_go_on(together):
    status, output = together(ten_hosts(), any_errors_fatal=False, cloudflared_loglevel="loud")
    told = refusals(output)
    assert status != 0
    assert sorted(told) == sorted(ten_hosts())
    assert "1 problem that h00 has, too: see there" in told["h01"]
    assert "1 problem that h00 has, too: see there" in told["h09"]
    assert "1 problem that h04 has, too: see there" in told["h09"]


def test_problems_of_one_host_need_no_names(together):
    hosts = {"a": {"ansible_host": "a.example"}, "b": {"proxy_listen_port": 1}}
    status, output = together(hosts)
    told = " ".join(output.split())
    assert status != 0
    assert output.count("fatal: [") == 1
    assert "1 problem in the variables of b; no host was touched" in told
    assert "(b)" not in told


def test_two_hosts_are_both(together):
    hosts = {"a": {"ansible_host": "a.example"}, "b": {"ansible_host": "b.example"}}
    _status, output = together(hosts, cloudflared_loglevel="loud")
    assert "warn, error, fatal. (both hosts)" in " ".join(output.split())


def test_hosts_without_problems_go_on(together):
    status, output = together({"a": {}, "b": {"ansible_host": "b.example"}})
    assert status == 0, output
    assert "gone on: a" in output
    assert "gone on: b" in output


def test_misspelt_variables_are_all_refused_at_once(preflight):
    """Otherwise proxy_allowed_ip would leave the default open, all private networks."""
    status, output = preflight(
        {"a": {"proxy_allowed_ip": ["10.20.0.15"]}, "b": {}},
        "-e",
        "cloudflared_log_level=debug",
        firewall_outbond=[],
        proxy_env={},
        mcp_tunnel_other_variables=["proxy_env"],
    )
    assert status != 0
    assert "3 problems in the variables of a; no host was touched" in output
    assert "2 problems in the variables of b; no host was touched" in output
    assert "proxy_allowed_ip: is not a variable of mcp_tunnels.stack" in output
    assert "Did you mean proxy_allowed_ips?" in output
    assert "Did you mean cloudflared_loglevel?" in output
    assert "Did you mean firewall_outbound?" in output
    assert "proxy_env: is not" not in output


def test_names_that_a_run_makes_itself_are_no_misspelt_variables(tmp_path, preflight):
    """They are the plan of an earlier preflight of the run, and the playbooks' own variables."""
    take = {
        "mcp_tunnels.stack.settings": None,
        "register": "__mcp_tunnel_settings",
        "no_log": True,
    }
    check = {"mcp_tunnels.stack.preflight": None, "register": "mcp_tunnel_plan"}
    status, output = run_playbook(tmp_path, [take, COMPARE, check, take, COMPARE, check], {"a": {}})
    assert status == 0, output


def test_a_variable_that_uses_an_undefined_one(preflight):
    given = {"mcp_tunnel_mode": "wif", "mcp_tunnel_identity": "{{ vault_that_is_not_there }}"}
    status, output = preflight({"a": {}}, **given)
    assert status != 0
    assert "mcp_tunnel_identity: has no value" in output
    assert "mcp_tunnel_identity: is missing" not in output


def test_templates_are_evaluated_before_they_are_checked(preflight):
    status, output = preflight(
        {"a": {"upstream": "http://10.0.0.7:1"}}, mcp_tunnel_routes={"echo": "{{ upstream }}"}
    )
    assert status == 0, output
    assert plans(output)["a"]["routes"] == {"echo": "http://10.0.0.7:1"}


@pytest.mark.parametrize(("text", "meant"), [("false", False), ("Yes", True), ("0", False)])
def test_a_truth_value_that_came_as_text(preflight, text, meant):
    status, output = preflight(
        {"a": {}}, proxy_disable_ip_validation=text, proxy_allowed_ips=[] if meant else ["10.0.0.1"]
    )
    assert status == 0, output
    assert plans(output)["a"]["switches"]["proxy_disable_ip_validation"] is meant


def test_a_text_that_is_false_is_no_trust_anchor(preflight):
    status, output = preflight(
        {"a": {}},
        mcp_tunnel_routes={"echo": "https://x:1"},
        proxy_upstream_include_system_cas="false",
    )
    assert status != 0
    assert "nothing says whom to trust" in output


def test_a_batch_of_the_command_line(preflight):
    status, output = preflight({"a": {}}, "-e", "mcp_tunnel_batch=half")
    assert status != 0
    assert "mcp_tunnel_batch: is 'half'" in output


def test_credentials_that_would_end_with_a_job(preflight):
    """Unless the operator says that their directory stays."""
    job = ("-e", "awx_job_id=7")
    status, output = preflight({"a": {}}, *job, mcp_tunnel_state_host="localhost")
    assert status != 0
    assert "this controller is a container: the CA's key would end with it" in output
    assert "set mcp_tunnel_state_is_persistent: true" in output
    stays = {"mcp_tunnel_state_host": "localhost", "mcp_tunnel_state_is_persistent": True}
    status, output = preflight({"a": {}}, *job, **stays)
    assert status == 0, output
    assert plans(output)["a"]["state_host"] == "localhost"


def test_more_tunnels_than_an_organization_has_are_told_once(preflight):
    hosts = {
        f"h{number:02}": {"ansible_host": f"h{number}", "mcp_tunnel_instance": f"i{number}"}
        for number in range(11)
    }
    status, output = preflight(hosts)
    assert status == 0, output
    assert output.count("[WARNING]: mcp_tunnel_instance: the group has 11 instances") == 1


def test_a_tunnel_holds_its_lease_while_another_one_is_watched(preflight):
    hosts = {"a": {}, "b": {}, "c": {"mcp_tunnel_instance": "second", "mcp_tunnel_soak": "2h"}}
    status, output = preflight(hosts)
    assert status == 0, output
    lease = {name: plan["lease_seconds"] for name, plan in plans(output).items()}
    assert lease["a"] == lease["b"] > 7200
    # Its own run asks for it again.
    assert lease["c"] < 7200
    # Without it, nobody waits.
    assert plans(preflight(hosts, "--limit", "a,b")[1])["a"]["lease_seconds"] < 7200


def test_a_token_that_is_encrypted_in_the_inventory(preflight, tmp_path):
    (tmp_path / "password").write_text("open sesame")
    unlock = ("--vault-password-file", str(tmp_path / "password"))
    # It has a process of its own: Ansible's controller parts change how modules in ours warn.
    vault = [sys.executable, "-m", "ansible.cli.vault", "encrypt_string", *unlock]
    for token, expected in ((make_token(), 0), ("nonsense", 2)):
        encrypted = subprocess.run(
            [*vault, "--name", "mcp_tunnel_token", token],
            capture_output=True,
            text=True,
            check=True,
        )
        (tmp_path / "vault.yml").write_text(encrypted.stdout)
        status, output = preflight({"a": {}}, "-e", "@vault.yml", *unlock)
        assert status == expected, output
        assert token not in output


def test_no_secret_in_the_loudest_output(preflight, openssl_ca):
    token, (certificate, key) = make_token(), openssl_ca
    status, output = preflight(
        {"a": {}, "b": {"mcp_tunnel_token": token[:-8]}},
        mcp_tunnel_token=token,
        mcp_tunnel_ca_cert=certificate,
        mcp_tunnel_ca_key=key[:40] + key[48:],
    )
    assert status != 0
    secrets = [token, token[:-8], *(line for line in key.splitlines() if len(line) > 40)]
    assert [secret for secret in secrets if secret in output] == []


IDENTITY = {"mcp_tunnel_backup_identity_file": "/run/key"}
RECIPIENTS = {"mcp_tunnel_backup_recipients": ["age1…"]}


@pytest.mark.parametrize(
    ("duty", "changes", "is_needed"),
    [
        ("restore", IDENTITY, True),
        ("recover", IDENTITY, True),
        ("recover", {}, False),
        ("deploy", IDENTITY, False),
        ("deploy", RECIPIENTS, False),
        ("deploy", {**RECIPIENTS, "mcp_tunnel_state_host": "localhost"}, True),
    ],
)
def test_the_library_for_copies_is_missed_before_any_host_is_touched(
    monkeypatch, duty, changes, is_needed
):
    assert list(check_library(good(**changes), duty)) == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    problems = list(map(str, check_library(good(**changes), duty)))
    assert ["pip install pyrage" in text for text in problems] == [True] * is_needed
