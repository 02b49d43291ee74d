"""A host's Python answers as an attacker wants: every playbook, and every kind of answer.

The hosts are simulated: their requests show what a run would have done, and nothing of it happens.
host1 has the tunnel's credentials; host2 is hostile.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
import yaml
from ansible.plugins.connection import local, ssh
from ansible.plugins.lookup import url
from ansible.vars.clean import clean_facts
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers import answers, own_names
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import plan, role_options
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.copies.backups import (
    with_copies,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.copies.states import make_pair
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good

OTHER = "/var/lib/mcp-tunnel/other"
RECIPIENT = make_pair()[0]
# The lease that state_host takes is no change.
READING = (
    *("host_check", "public_files", "state_host", "release_tree"),
    *("replica_health", "replica_traffic", "state_copy", "stored_token", "support", "tunnel_token"),
)
# Every playbook, with the mode in which it works.
PLAYBOOKS = [
    ("site", "manual", []),
    pytest.param(
        *("site", "manual", ["-e", "mcp_tunnel_cert_renew_timer=true"]),
        marks=pytest.mark.exhaustive,
    ),
    pytest.param("site", "manual", ["-e", "mcp_tunnel_soak=1"], marks=pytest.mark.exhaustive),
    ("site", "wif", []),
    ("drift", "manual", ["--check"]),
    ("verify", "manual", []),
    ("support", "manual", []),
    ("renew_cert", "manual", []),
    ("backup", "manual", []),
    ("restore", "manual", []),
    ("rotate_token", "wif", []),
    ("rotate_ca", "wif", []),
    ("recover", "wif", []),
    ("breach", "wif", ["-e", '{"mcp_tunnel_breached": ["host2"]}']),
    ("drain", "manual", ["-e", '{"mcp_tunnel_drain": ["host2"]}']),
    ("undrain", "manual", []),
    ("reboot", "manual", []),
    ("teardown", "manual", ["-e", "mcp_tunnel_teardown_confirmed=true"]),
]


@pytest.fixture
def simulation(tmp_path):
    """The world of the simulated hosts, in mode manual."""
    return Simulation(tmp_path)


def wanted_by_an_attacker(secret):
    """Return facts with all our names, and with names that nothing else defines."""
    values = {
        **good(),
        "mcp_tunnel_mode": "wif",
        "mcp_tunnel_state_host": "localhost",
        "mcp_tunnel_token_file": str(secret),
        "mcp_tunnel_identity": {"source": "command", "command": ["touch", f"{secret}.ran"]},
        "mcp_tunnel_archive": True,
        "mcp_tunnel_state_is_lost": True,
        "mcp_tunnel_teardown_confirmed": True,
        "mcp_tunnel_domain": "other.tunnel.example",
        "cloudflared_binary_file": str(secret),
        "cloudflared_install_method": "file",
    }
    evil = plan.make_plan(good(), ["host2"], "host2")
    evil |= {
        **{"mode": "wif", "state_host": "localhost", "state_dir": OTHER, "leader": "host2"},
        **{"instance": "../../etc", "config_dir": "/etc/../root", "duty": "rotate_ca"},
        "domain": "other.tunnel.example",
        "switches": dict.fromkeys(evil["switches"], True),
    }
    release = {"present": True, "path": "/tmp/evil", "version": "../../evil"}
    return {
        **values,
        "mcp_tunnel_plan": evil,
        "__mcp_tunnel_settings": {"variables": values, "undefined": {}},
        "__mcp_tunnel_duty": "rotate_ca",
        "__mcp_tunnel_deploys": True,
        "__mcp_tunnel_host": {"facts": {"users": [], "releases": {}, "unpacked": {}}},
        "__mcp_tunnel_ca_phase": "added",
        "__mcp_tunnel_recovers": True,
        "__mcp_tunnel_rotates_token": True,
        "__mcp_tunnel_health": {"healthy": True},
        "__mcp_tunnel_removed": {"alone": True},
        "__provision_python": "/tmp/evil",
        "__provision_given_token": "evil",
        "__provision_stored_token": {"token": "evil", "content": "ZXZpbA=="},
        "__provision_ca": {"certificate": "evil"},
        "__provision_session_file": "/etc/shadow",
        "__proxy_release": release,
        "__cloudflared_release": release,
    }


def assert_nothing_of_the_controller(simulation, secret, output):
    """Assert that nothing ran there, and that nothing from there, or made up, went to a host."""
    calls = simulation.calls()
    assert not [call for call in calls if call["host"] not in ("host1", "host2")]
    assert not secret.with_suffix(".ran").exists()
    said = json.dumps(calls)
    for text in (
        "the controller's own",
        OTHER,
        "other.tunnel.example",
        "../../",
        "/tmp/evil",
        "shadow",
    ):
        assert text not in said, text
    assert "the controller's own" not in output
    assert "\x1b" not in output


@pytest.fixture
def secret(tmp_path):
    """A file that only the controller may read."""
    path = tmp_path / "controller-secret"
    path.write_text("the controller's own")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(("playbook", "mode", "arguments"), PLAYBOOKS)
def test_facts_with_our_names_in_every_answer(tmp_path, secret, playbook, mode, arguments):
    simulation = Simulation(tmp_path, mode)
    if playbook in ("backup", "restore"):
        with_copies(simulation)
    simulation.attack(merge={"ansible_facts": wanted_by_an_attacker(secret)})
    status, output = simulation.run(playbook, *arguments)
    assert status != 0
    assert "host2: its answer to mcp_tunnels.stack." in output
    assert "sets facts, which this module never does: __" in output
    assert_nothing_of_the_controller(simulation, secret, output)
    changing = [
        call
        for call in simulation.calls()
        if call["module"] not in READING and call["arguments"].get("state") != "looked"
    ]
    if playbook == "undrain":
        # A replica comes back without the others: they may be what is away.
        assert {call["host"] for call in changing} <= {"host1"}
    elif playbook == "breach":
        # It is what the run is about: asked to undo things, given nothing, and gone by in nothing.
        asked = [call for call in simulation.calls() if call["host"] == "host2"]
        tried = {"systemd_service", "containment", "public_files", "host_check", "replica"}
        assert {call["module"] for call in asked} == {*tried, "command", "file_set"}
        assert "content" not in json.dumps([call["arguments"] for call in asked])
        retired = [c for c in changing if c["arguments"].get("phase") == "retired"]
        assert [call["host"] for call in retired] == ["host1"]
    elif playbook == "renew_cert":
        # The playbook reads only from host1 before; the first replica to have its turn is host1.
        assert not [call for call in changing if call["host"] == "host2" and call != changing[-1]]
    else:
        assert changing == []


CONFIRMED = ["-e", "mcp_tunnel_teardown_confirmed=true"]


def test_facts_of_a_module_that_is_not_ours(simulation, secret):
    """Ansible would take such facts, whatever their names."""
    simulation.settings = {"ANSIBLE_INJECT_FACT_VARS": "true"}
    facts = {"ansible_control_path": "/root/.ansible/cp/host1", "anything": 1}
    simulation.attack(module="systemd_service", merge={"rc": 0, "ansible_facts": facts})
    status, output = simulation.run("teardown", *CONFIRMED)
    assert status != 0
    assert "host2: its answer to ansible.builtin.systemd_service is not one" in output
    assert "sets facts, which this module never does" in output
    assert_nothing_of_the_controller(simulation, secret, output)
    asked = [call["module"] for call in simulation.calls() if call["host"] == "host2"]
    assert asked[asked.index("systemd_service") + 1 :] == [], "nothing more is asked of it"


def connection_variables():
    """Return variables of plugins that connect, which Ansible does not remove from facts itself."""
    documents = [yaml.safe_load(plugin.DOCUMENTATION)["options"] for plugin in (local, ssh, url)]
    names = {
        variable["name"]
        for options in documents
        for option in options.values()
        for variable in option.get("vars", [])
    }
    kept = clean_facts(dict.fromkeys(names, "x"))
    return sorted(name for name in kept if name.startswith("ansible_"))


# Some of those of community.hashi_vault, to which a token would be sent.
@pytest.mark.parametrize(
    "name",
    [*connection_variables(), "ansible_hashi_vault_addr", "ansible_hashi_vault_validate_certs"],
)
def test_facts_that_say_how_to_connect(name):
    """Ansible's default makes facts variables, which choose programs and sockets."""
    with pytest.raises(TunnelError, match=r"host2: its facts .*" + name.removeprefix("ansible_")):
        own_names.check_facts("host2", {name.removeprefix("ansible_"): "/tmp/evil"})


@pytest.mark.parametrize("injected", ["true", pytest.param("false", marks=pytest.mark.exhaustive)])
def test_facts_of_a_cache(simulation, secret, tmp_path, injected):
    simulation.settings = {
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path / "facts"),
        "ANSIBLE_INJECT_FACT_VARS": injected,
    }
    facts = {**wanted_by_an_attacker(secret), "cacheable": True}
    about_host2 = {"when": "inventory_hostname == 'host2'"}
    status, output = simulation.run_tasks([{"ansible.builtin.set_fact": facts, **about_host2}])
    assert status == 0, output
    status, output = simulation.run("verify")
    assert status != 0
    assert "host2: its facts set variables of mcp_tunnels.stack" in output
    assert "No host was touched" in output
    assert simulation.calls() == []
    assert "the controller's own" not in output


def test_a_hostile_replica_that_leads_signs_nothing_else(simulation, secret):
    """With --limit, the credentials are provisioned on behalf of the hostile host."""
    simulation.attack(module="replica", merge={"ansible_facts": wanted_by_an_attacker(secret)})
    simulation.attack(module="command", merge={"ansible_facts": wanted_by_an_attacker(secret)})
    status, output = simulation.run("site", "--limit", "host2")
    assert status != 0
    assert_nothing_of_the_controller(simulation, secret, output)
    for call in simulation.calls():
        if call["host"] == "host1" and "path" in call["arguments"]:
            allowed = (simulated_hosts.STATE, simulated_hosts.CONFIG, "/opt/mcp-tunnel/proxy/")
            assert call["arguments"]["path"].startswith(allowed)


def test_true_answers_are_let_pass(tmp_path):
    """A program that refuses everything would also refuse all of the above."""
    for mode, playbook in (("manual", "site"), ("wif", "rotate_ca")):
        directory = tmp_path / mode
        directory.mkdir()
        simulation = Simulation(directory, mode)
        status, output = simulation.run(playbook)
        assert status == 0, output[-3000:]
        signed = [c for c in simulation.calls() if c.get("arguments", {}).get("state") == "signed"]
        assert [call["host"] for call in signed] == ["host1", "host1"]
        # Who sets nothing for copies of the state reads nothing of them.
        assert "mcp_tunnel_backup_recipients" not in output.partition("Say what is proven")[2]
        assert_services_restart_for_their_files(simulation.calls())


def assert_services_restart_for_their_files(calls):
    """Assert that a change of any unit, setting or drop-in file restarts its service."""
    written = {
        entry["path"]
        for call in calls
        if call["module"] == "file_set"
        for entry in call["arguments"]["entries"]
        if "content" in entry or "secret_content" in entry
    }
    services = [
        service
        for call in calls
        if call["module"] == "replica" and call["arguments"].get("state") != "good"
        for service in call["arguments"]["services"]
    ]
    watched = {
        path for service in services for path in (*service["files"], *service.get("live_files", []))
    }
    assert written
    # The replica's memory is for later runs, and no service reads it.
    watched.add("/etc/mcp-tunnel/default/members.json")
    assert sorted(path for path in written - watched if "/mcp-" in path) == []
    assert {path for service in services for path in service.get("socket_files", [])} <= watched


def test_a_host_that_does_not_answer(simulation):
    """It is given up and named; the other host is neither asked nor deployed any further."""
    simulation.variables["mcp_tunnel_answer_timeout"] = 2
    simulation.attack(module="host_check", delay=60)
    status, output = simulation.run()
    assert status != 0
    assert "host2: has not answered mcp_tunnels.stack.host_check within 2 seconds" in output
    assert [call["module"] for call in simulation.calls()] == ["host_check", "host_check"]


def wiped(simulation):
    """Return the paths that each host had to remove, as (host, path)."""
    return {
        (call["host"], entry["path"])
        for call in simulation.calls()
        if call["module"] == "file_set"
        for entry in call["arguments"]["entries"]
        if entry.get("state") == "absent"
    }


FORMER = {
    simulated_hosts.STATE: {"ca.crt": simulated_hosts.pem("CERTIFICATE", "the old CA").strip()}
}
SAME = {simulated_hosts.STATE: {"ca.crt": simulated_hosts.CA.strip()}}


@pytest.mark.parametrize("found", [FORMER, pytest.param(SAME, marks=pytest.mark.exhaustive)])
def test_teardown_wipes_the_credentials_on_a_former_state_host(simulation, found):
    simulation.world["contents"] = {"host2": found}
    status, output = simulation.run("teardown", *CONFIRMED)
    assert status == 0, output[-3000:]
    states = {pair for pair in wiped(simulation) if pair[1] == simulated_hosts.STATE}
    assert states == {("host1", simulated_hosts.STATE), ("host2", simulated_hosts.STATE)}


def test_teardown_asks_no_host_to_wipe_what_it_never_had(simulation):
    status, output = simulation.run("teardown", *CONFIRMED)
    assert status == 0, output[-3000:]
    assert ("host2", simulated_hosts.STATE) not in wiped(simulation)


@pytest.mark.parametrize(("found", "goes"), [(FORMER, True), (SAME, False)])
def test_teardown_of_a_former_state_host_alone(simulation, found, goes):
    """A directory with the state host's content may be the same directory, by another name."""
    simulation.world["contents"] = {"host2": found}
    status, output = simulation.run("teardown", "--limit", "host2", *CONFIRMED)
    assert status == 0, output[-3000:]
    assert (("host2", simulated_hosts.STATE) in wiped(simulation)) == goes
    assert ("host1", simulated_hosts.STATE) not in wiped(simulation)
    assert (f"{simulated_hosts.STATE} on host2 stays, with a CA's key" in output) != goes


def test_teardown_keeps_what_other_replicas_may_live_on(simulation):
    """host1 is named as the state host, has nothing, and takes no part."""
    simulation.world["contents"] = {"host1": {}, "host2": FORMER}
    lost = ["-e", "mcp_tunnel_state_is_lost=true"]
    status, output = simulation.run("teardown", "--limit", "host2", *CONFIRMED, *lost)
    assert status != 0
    assert f"{simulated_hosts.STATE} on host2: is there, and host1, the state host, has" in output
    assert wiped(simulation) == set()


CSR = simulated_hosts.REQUEST
ANSWERS = {
    "facts": {"merge": {"ansible_facts": {"anything": 1}}},
    "facts that are no map": {"merge": {"ansible_facts": ["mcp_tunnel_plan"]}},
    "a megabyte": {"long": ["facts", "python_version"]},
    "a path in a name": {"merge": {"facts": {"releases": {"proxy": "../../etc"}}}},
    "a path among releases": {"merge": {"facts": {"unpacked": {"proxy": ["../../etc"]}}}},
    "a dot": {"merge": {"facts": {"releases": {"proxy": ".."}}}},
    "an unknown part": {"merge": {"facts": {"releases": {"other": "1"}}}},
    "arguments of pip": {"merge": {"facts": {"python_version": "3.11 --index-url=http://x"}}},
    "two lines": {"merge": {"facts": {"python_version": "3.11.2\n"}}},
    "another Python": {"merge": {"facts": {"python_version": "2.7.18"}}},
    "a path as machine": {"merge": {"facts": {"architecture": "../x86_64"}}},
    "no resolver": {"merge": {"facts": {"resolvers": ["10.77.0.1\nIPAddressAllow=any"]}}},
    "a resolver with a zone": {"merge": {"facts": {"resolvers": ["fe80::1%eth0; accept"]}}},
    "another user": {"merge": {"facts": {"users": ["root"]}}},
    "a text as number": {"merge": {"facts": {"cores": "2"}}},
    "too many cores": {"merge": {"facts": {"cores": 1 << 40}}},
    "a truth value as number": {"merge": {"facts": {"cores": True}}},
    "an identity of another kind": {"merge": {"facts": {"machine": {"a": 1}}}},
    "a missing fact": {"merge": {"facts": None}},
    "a key with options": {
        "merge": {"facts": {"renewal_key": f'command="sh" {simulated_hosts.SSH_KEY}'}}
    },
    "two keys": {"merge": {"facts": {"renewal_key": f"{simulated_hosts.SSH_KEY}\nssh-rsa AAAA"}}},
    "an additional fact": {"merge": {"facts": {"mcp_tunnel_plan": {}}}},
    "a changed that is none": {"merge": {"changed": "yes"}},
    "a failed that is none": {"merge": {"failed": {"a": 1}}},
    "a list": {"raw": "[]"},
    "nothing": {"raw": ""},
    "half an answer": {"raw": '{"changed": false, "facts": {"mach'},
    "no JSON": {"raw": "\x1b]0;owned\x07 hello"},
    "killed": {"raw": "", "status": 137},
    "depth": {"raw": '{"facts": ' + "[" * 400 + "]" * 400 + "}"},
    "escapes": {"merge": {"failed": True, "msg": "\x1b[2J\x1b]0;owned\x07\u202eevil"}},
    "escapes in warnings": {"merge": {"failed": True, "warnings": ["\x1b[2J", {"a": 1}]}},
    "escapes in a traceback": {"merge": {"failed": True, "msg": 1, "exception": "\x1b[2J"}},
    "keys of Ansible": {
        "merge": {"failed": True, "add_host": {"host_name": "host1"}, "_ansible_x": "\x1b[2J"}
    },
}


def test_every_answer_that_is_none(simulation):
    """Each has a host of its own, all in one run."""
    for number, how in enumerate(ANSWERS.values()):
        simulation.attack(f"evil{number}", "host_check", **how)
    simulation.hosts = {f"evil{number}": {} for number in range(len(ANSWERS))} | {"honest": {}}
    check = {"mcp_tunnels.stack.host_check": {"users": ["mcp-proxy", "mcp-cloudflared"]}}
    status, output = simulation.run_tasks([{**check, "register": "found"}])
    assert status != 0
    passed = [name for name in simulation.hosts if f"ok: [{name}]" in output]
    assert passed == ["honest"]
    for number, kind in enumerate(ANSWERS):
        assert f"fatal: [evil{number}]: FAILED!" in output, kind
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "A" * 10_000 not in output
    assert len(output) < 400_000


def refused(module, arguments, **how):
    """Return a row of the table below: module, its arguments, and the host's answer."""
    return module, arguments, how


STATE = {"path": simulated_hosts.STATE}
COPY = {**STATE, "instance": "default", "recipients": [RECIPIENT]}
TLS = {"path": "/etc/mcp-tunnel/default/tls", "domain": simulated_hosts.DOMAIN}
CALLS = {
    "a CA with an appendix": refused(
        "tunnel_ca", STATE, merge={"certificate": simulated_hosts.CA + "routes: {}\n"}
    ),
    "a key as a CA": refused(
        "tunnel_ca", STATE, merge={"certificate": simulated_hosts.pem("PRIVATE KEY")}
    ),
    "a domain with YAML": refused(
        "tunnel", STATE, merge={"domain": "a.example\nadmin_addr: 0.0.0.0:1"}
    ),
    "a domain of one label": refused("tunnel", STATE, merge={"domain": "localhost"}),
    "an ID with a path": refused("tunnel", STATE, merge={"tunnel_id": "../../v1/other"}),
    "a stored domain with nft": refused(
        "public_files",
        {**STATE, "names": ["tunnel-domain"]},
        merge={"contents": {"tunnel-domain": "a.b; accept"}},
    ),
    "a file that was not asked for": refused(
        "public_files", {**STATE, "names": ["ca.crt"]}, merge={"contents": {"ca.key": "x"}}
    ),
    "a token that is none": refused("stored_token", STATE, merge={"content": "bm90IGEgdG9rZW4="}),
    "a token with a second line": refused("stored_token", STATE, merge={"content": "ZXlKCmV2aWw="}),
    "two requests": refused(
        "server_cert",
        {**TLS, "state": "requested", "ca_certificate": "x"},
        merge={"csr": CSR + CSR},
    ),
    "a request that is none": refused(
        "server_cert",
        {**TLS, "state": "requested", "ca_certificate": "x"},
        merge={"csr": "{{ evil }}"},
    ),
    "a huge request": refused(
        "server_cert", {**TLS, "state": "requested", "ca_certificate": "x"}, long=["csr"]
    ),
    "a need that is a text": refused(
        "server_cert",
        {**TLS, "state": "requested", "ca_certificate": "x"},
        merge={"needed": "{{ evil }}"},
    ),
    "no request": refused(
        "server_cert",
        {**TLS, "state": "requested", "ca_certificate": "x"},
        raw='{"changed": false}',
    ),
    "another certificate": refused(
        "server_cert", {**TLS, "state": "signed", "csr": "x"}, merge={"certificate": "evil"}
    ),
    "a path that was not given": refused(
        "file_set",
        {"entries": [{"path": "/etc/a", "state": "absent"}]},
        merge={"changed_paths": ["/etc/shadow"]},
    ),
    "alone, as a text": refused(
        "replica", {"instance": "default", "services": [], "state": "absent"}, merge={"alone": "no"}
    ),
    "healthy, as a text": refused(
        "replica_health",
        {
            "instance": "default",
            **{k: v for k, v in TLS.items() if k == "domain"},
            "routes": {},
            "ca_certificate_file": "/x",
            "listen_port": 1,
            "admin_port": 2,
            "metrics_port": 3,
        },
        merge={"healthy": "true"},
    ),
    "drained, as a text": refused(
        "replica_drain", {"instance": "default"}, merge={"drained": "yes"}
    ),
    "ended, as a text": refused("replica_drain", {"instance": "default"}, merge={"ended": "yes"}),
    "a drain of another kind": refused(
        "replica_drain", {"instance": "default"}, merge={"drained": {"mcp_tunnel_plan": "evil"}}
    ),
    "a machine that is none": refused("reboot", {"state": "looked"}, merge={"machine": "../evil"}),
    "needed, as a text": refused("reboot", {"state": "looked"}, merge={"needed": "evil"}),
    "an instance that is none": refused(
        "reboot", {"state": "looked"}, merge={"in_service": ["../../evil\n"]}
    ),
    "instances without end": refused(
        "reboot", {"state": "looked"}, merge={"in_service": ["evil"] * 257}
    ),
    **{
        f"a count that is {kind}": refused(
            "replica_traffic",
            {"instance": "default", "admin_port": 8081},
            merge={"traffic": {"handshakes": count}},
        )
        for kind, count in {"a text": "5", "below nothing": -1, "endless": 1 << 60}.items()
    },
    "a bound that is none": refused(
        "replica_traffic",
        {"instance": "default", "admin_port": 8081},
        merge={
            "before": {
                **dict.fromkeys(("started", "handshakes", "handshake_failures"), 0),
                "routes": [
                    {
                        "route": "echo",
                        "answered": 0,
                        "failed": 0,
                        "first_bytes": [{"within": "evil", "count": 0}],
                    }
                ],
            }
        },
    ),
    "waits, as a text": refused(
        "replica", {"instance": "default", "services": []}, merge={"waits": "evil"}
    ),
    "armed, as a text": refused(
        "firewall",
        {"instance": "default", "host_rules": "", "instance_rules": "", "units": {}},
        merge={"armed": "x"},
    ),
    "another release": refused(
        "release",
        {"part": "cloudflared", "method": "package", "architecture": "x86_64"},
        merge={"version": "../../x"},
    ),
    "an archive without a size": refused(
        "support",
        {"instance": "default", "dest": "{{ mcp_tunnel_support_dest }}"},
        merge={"size": -1},
    ),
    "a key for everything": refused(
        "renewal_key",
        {"path": "/etc/mcp-tunnel/default/renewal"},
        merge={"public_key": "ssh-rsa AAAA\n" + simulated_hosts.SSH_KEY},
    ),
    "a host key for another name": refused(
        "state_host",
        {"instance": "default", **STATE},
        merge={"host_keys": [f"ssh-rsa AAAA\n* {simulated_hosts.HOST_KEY}"]},
    ),
    **{
        f"a copy that is {kind}": refused("state_copy", COPY, merge={"content": content})
        for kind, content in {
            "a lookup": "{{ lookup('pipe', 'id') }}",
            "a key": simulated_hosts.pem("PRIVATE KEY"),
            "two": simulated_hosts.armored() * 2,
            "half": simulated_hosts.armored()[:200],
            "too much": simulated_hosts.armored("x" * 10_000),
            "a number": 7,
        }.items()
    },
    "a copy with a path": refused("state_copy", COPY, merge={"domain": "../../etc"}),
    "already_stored, as a number": refused("tunnel_token", STATE, merge={"already_stored": 1}),
}


def test_every_module_checks_what_a_host_answers(simulation):
    simulation.hosts = {f"evil{number}": {} for number in range(len(CALLS))}
    tasks = []
    for number, (module, arguments, how) in enumerate(CALLS.values()):
        asked = {"release": "release_tree"}.get(module, module)
        simulation.attack(f"evil{number}", asked, **how)
        tasks.append(
            {
                f"mcp_tunnels.stack.{module}": arguments,
                "when": f"inventory_hostname == 'evil{number}'",
            }
        )
    status, output = simulation.run_tasks(tasks)
    assert status != 0
    for number, kind in enumerate(CALLS):
        assert f"fatal: [evil{number}]: FAILED!" in output, kind
    assert "evil" not in "".join(line for line in output.splitlines() if line.startswith("ok:"))
    assert "A" * 10_000 not in output
    assert "shadow" not in output


def test_every_module_of_a_host_is_asked_through_the_check():
    """A module without an action plugin of ours passes on any answer of a host."""
    plugins = Path(answers.__file__).parents[2]
    modules = {path.stem for path in (plugins / "modules").glob("*.py")} - {"__init__"}
    on_the_controller = {
        "availability",
        "awx_objects",
        "awx_project",
        "bundle",
        "controller",
        "reached",
        "remaining",
        "summary",
        "group",
        "import_deployment",
        "preflight",
        "preflight_verdict",
        "refuse",
        "repository_key",
        "settings",
        "soak",
    }
    # release asks for release_tree by itself.
    asked = {
        path.stem
        for path in (plugins / "action").glob("*.py")
        if "CheckedModule" in path.read_text()
    }
    assert modules - on_the_controller - {"release_tree"} == asked


#: They run on the controller, and pass on nothing from a host.
_ON_THE_CONTROLLER = {
    *("assert", "debug", "fail", "group_by", "meta", "pause", "set_fact", "wait_for_connection"),
}


def test_no_module_of_ansible_itself_is_asked_without_the_check():
    root = Path(role_options.__file__).parents[3]
    files = [*root.glob("playbooks/**/*.yml"), *root.glob("roles/*/tasks/*.yml")]
    named = [re.findall(r"^ *(?:- )?ansible\.(\w+\.\w+):", f.read_text(), re.M) for f in files]
    used = {name.removeprefix("builtin.") for names in named for name in names}
    unchecked = {name for name in used if not name.startswith(("import_", "include_"))}
    assert unchecked == _ON_THE_CONTROLLER


_CONDITIONS = ("when", "that", "changed_when", "failed_when", "until", "loop")


def _expressions(path):
    """Return the expressions of a file, without the texts in them."""
    if path.suffix == ".yml":
        found = list(_values(yaml.safe_load(path.read_text()), ""))
    else:
        found = [("", path.read_text())]
    parts = []
    for key, text in found:
        parts += re.findall(r"{[{%](.*?)[}%]}", text, re.S) or ([text] * (key in _CONDITIONS))
    return re.sub(r"'[^']*'", "", "\n".join(parts))


def _values(node, key):
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _values(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, key)
    elif isinstance(node, str):
        yield key, node


def test_each_variable_is_read_as_the_preflight_has_taken_it():
    """A fact could set it, and an extra variable may be a text: it outranks those of a role."""
    root = Path(role_options.__file__).parents[3]
    files = [*root.glob("playbooks/**/*.yml")]
    for role, folder in itertools.product(role_options.ROLES, ("tasks", "templates", "vars")):
        files += [path for path in root.glob(f"roles/{role}/{folder}/**/*") if path.is_file()]
    read = {}
    for path in files:
        words = set(re.findall(r"(?<![\w.])\w+", _expressions(path)))
        if found := sorted(words & role_options.defaults().keys()):
            read[str(path.relative_to(root))] = found
    assert read == {}
