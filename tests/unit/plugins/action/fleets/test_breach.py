"""A breach over simulated hosts: who is asked for what, in which order, and who gets nothing."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.openssl import make_ca
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

ONE = ["-e", '{"mcp_tunnel_breached": ["host2"]}']
MACHINE = b"host2".hex().ljust(16, "0")
FOUND = {"host2": {"machine": MACHINE, "evidence": True}}
MARK = {"name": "host2", "machine": MACHINE, "since": "2026-11-29T20:00:00Z"}
VERSION = f"breach-{simulated_hosts.TOKEN_DIGEST[:16]}"
RECORDS = "/var/lib/mcp-tunnel-replica/default"
TAKEN_OUT = {
    "containment",
    "public_files",
    "support",
    "host_check",
    "replica",
    "file_set",
    "systemd_service",
}
MEMORY = {"replicas": ["host1", "host2", "host3"], "state_host": "host1"}
STATE_HOST = ["-e", '{"mcp_tunnel_breached": ["host1"], "mcp_tunnel_state_host": "host2"}']


@pytest.fixture
def simulation(tmp_path):
    """Three replicas of one tunnel in mode wif; host1 has its credentials."""
    found = Simulation(tmp_path, "wif")
    found.hosts["host3"] = {}
    trusted = {"ca.crt": simulated_hosts.CA.strip(), "members.json": json.dumps(MEMORY)}
    found.world["contents"] = {"host3": {simulated_hosts.CONFIG: trusted}}
    return found


def calls(simulation, module, **arguments):
    """Return the calls of a module with these arguments."""
    return [
        call
        for call in simulation.calls()
        if call["module"] == module
        and all(call["arguments"].get(key) == value for key, value in arguments.items())
    ]


def position(simulation, module, host, **arguments):
    """Return the place of the first such call among all calls."""
    wanted = [call for call in calls(simulation, module, **arguments) if call["host"] == host]
    return simulation.calls().index(wanted[0])


def paths(simulation, host, state):
    """Return the paths that a host was asked to bring into this state."""
    return {
        entry["path"]
        for call in calls(simulation, "file_set")
        if call["host"] == host
        for entry in call["arguments"]["entries"]
        if entry.get("state") == state
    }


def written(simulation, host, name):
    """Return the texts that a host was asked to write into a file of this name."""
    return [
        (simulation.calls().index(call), entry["content"])
        for call in calls(simulation, "file_set")
        if call["host"] == host
        for entry in call["arguments"]["entries"]
        if entry["path"].endswith("/" + name) and "content" in entry
    ]


def shut(simulation):
    """Return the place of the call that shuts the firewall of host2."""
    return position(simulation, "containment", "host2", ssh_ports=[22])


def test_what_each_host_is_asked_and_when(simulation):
    """Another tunnel of the inventory is not touched."""
    simulation.hosts["other"] = {
        "mcp_tunnel_instance": "other",
        "mcp_tunnel_id": "tnl_01OTHER",
        "proxy_listen_port": 9080,
        "proxy_admin_port": 9081,
        "cloudflared_metrics_port": 9082,
    }
    status, output = simulation.run("breach", *ONE)
    assert status == 0, output[-3000:]
    assert_order(simulation)
    assert_contained(simulation)
    assert_it_gets_nothing(simulation)
    assert "other" not in {call["host"] for call in simulation.calls()}


def assert_order(simulation):
    """Assert the order: containment, evidence, mark, new credentials, archive of the old CA."""
    order = [
        position(simulation, "systemd_service", "host2", state="stopped"),
        shut(simulation),
        position(simulation, "support", "host2", state="made"),
        position(simulation, "replica", "host2", state="absent"),
        position(simulation, "state_host", "host1", breached=FOUND),
        written(simulation, "host3", "members.json")[0][0],
        position(simulation, "tunnel_ca", "host1", phase="added"),
        position(simulation, "tunnel_ca", "host1", phase="retired"),
    ]
    assert order == sorted(order)
    remembered = [text for _at, text in written(simulation, "host3", "members.json")]
    assert len(set(remembered)) == 1, "the deployment changes nothing of it"
    assert json.loads(remembered[0]) == {
        "breached": [{**MARK, "evidence": MARK["since"]}],
        "replicas": ["host1", "host3"],
        "state_host": "host1",
    }
    marked = calls(simulation, "state_host", breached=FOUND)[0]["arguments"]
    assert marked["note"] is True
    assert "domain" not in marked, "a wrong one keeps no host from its mark"
    assert marked["inventory"] == ["host1", "host3"]


def assert_contained(simulation):
    """Assert that the services cannot start again, and that nothing secret stays."""
    assert paths(simulation, "host2", "link") == {
        "/etc/systemd/system/mcp-cloudflared@default.service",
        "/etc/systemd/system/mcp-proxy@default.service",
        "/etc/systemd/system/mcp-proxy@default.socket",
    }
    entries = [e for c in calls(simulation, "file_set") for e in c["arguments"]["entries"]]
    masks = [each for each in entries if each.get("target") == "/dev/null"]
    assert [each.get("backup") for each in masks] == [True] * 3
    gone = paths(simulation, "host2", "absent")
    assert {simulated_hosts.CONFIG, simulated_hosts.STATE, RECORDS} <= gone
    (stopped,) = calls(simulation, "replica", state="absent")
    assert stopped["arguments"]["keeps_records"] is True
    assert "/etc/systemd/system/mcp-tunnel-renew-cert@default.timer" in gone
    units = [call["arguments"] for call in calls(simulation, "systemd_service")]
    names = [unit["name"] for unit in units if unit.get("enabled") and unit.get("state")]
    assert names == ["mcp-tunnel-containment.service"]
    (archive,) = (simulation.directory / "archives").iterdir()
    assert archive.name.startswith(f"host2-breach-{MACHINE}-")


def assert_it_gets_nothing(simulation):
    """Assert that the others alone get what is new, and that the token is rotated once."""
    modules = {call["module"] for call in simulation.calls() if call["host"] == "host2"}
    assert modules == TAKEN_OUT
    signed = calls(simulation, "server_cert", state="requested")
    assert {call["host"] for call in signed} == {"host1", "host3"}
    versions = [c["arguments"].get("token_version") for c in calls(simulation, "tunnel_token")]
    assert versions == [None, VERSION]


def test_a_rotation_that_was_under_way_needs_another_run(simulation):
    simulation.world["was_rotating"] = True
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert "the CA that may have signed for it is still trusted" in output
    assert "Run this playbook again, which replaces that CA as well" in output
    assert "NOT replaced yet, see below: the CA that may have signed for it." in output
    assert "The token and the CA are new" not in output


@pytest.mark.exhaustive
def test_a_token_that_nobody_has_replaced_is_rotated_without_another_ca(simulation):
    """A run was killed before the token, and the operator has completed the rotation of the CA."""
    simulation.world["marked"] = {"host1": [{**MARK, "evidence": MARK["since"]}]}
    simulation.world["replaced"] = ["ca"]
    status, output = simulation.run("breach", *ONE)
    assert status == 0, output[-3000:]
    assert calls(simulation, "tunnel_ca", phase="added") == []
    versions = [c["arguments"].get("token_version") for c in calls(simulation, "tunnel_token")]
    assert versions == [None, VERSION]
    assert "The token and the CA are new" in output


@pytest.mark.exhaustive
def test_a_token_that_stays_ends_the_run_red(simulation):
    simulation.world["stays"] = ["token"]
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert "NOT replaced yet, see below: the token that it knows." in output
    assert "host2: the token that it knows is still good. Run this playbook again" in output
    assert "The token and the CA are new" not in output


def test_a_new_state_host_notes_the_token_before_it_is_replaced(simulation):
    """Else the run after a killed one could not tell that it was not replaced."""
    known = {"provisioning": "wif", "token_version": None}
    simulation.attack("host2", "tunnel_token", arguments=known, merge={"changed": True})
    status, output = simulation.run("breach", *STATE_HOST)
    assert status == 0, output[-3000:]
    taken, rotated = (simulation.calls().index(call) for call in calls(simulation, "tunnel_token"))
    notes = [
        simulation.calls().index(call)
        for call in calls(simulation, "state_host", note=True)
        if call["arguments"]["breached"]
    ]
    assert any(taken < at < rotated for at in notes)
    forms = {call["arguments"].get("encryption") for call in calls(simulation, "tunnel_token")}
    assert len(forms - {None}) == len(forms) == 1, "it is never in clear where the new one is not"


def test_a_brought_ca_is_judged_after_the_mark_and_before_anything_is_replaced(
    simulation, tmp_path
):
    """By the state host, which knows what has signed for the host."""
    certificate, key = make_ca(tmp_path)
    simulation.variables.update(mcp_tunnel_ca_cert=certificate, mcp_tunnel_ca_key=key)
    told = {"failed": True, "msg": "mcp_tunnel_ca_cert: is the CA that has signed for host2."}
    simulation.attack("host1", "state_host", arguments={"ca_certificate": certificate}, merge=told)
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert "mcp_tunnel_ca_cert: is the CA that has signed" in output
    assert "is NOT marked" not in output
    (mark,) = calls(simulation, "state_host", breached=FOUND, note=True)
    assert (mark["arguments"]["ca_certificate"], mark["arguments"]["needs_all"]) == ("", False)
    assert shut(simulation) < simulation.calls().index(mark)
    assert written(simulation, "host3", "members.json")
    assert calls(simulation, "tunnel_ca") == calls(simulation, "tunnel_token") == []


def test_the_secret_of_a_signer_is_named(simulation, tmp_path):
    """The file is the operator's, and so is the revocation."""
    secret = "/etc/sign-csr/token"
    signer = {"source": "command", "command": ["/usr/bin/sign"], "secret_file": secret}
    simulation.variables.update(mcp_tunnel_signer=signer, mcp_tunnel_ca_cert=make_ca(tmp_path)[0])
    _status, output = simulation.run("breach", *ONE, "--check")
    assert f"revoke at your signer (mcp_tunnel_signer) the secret in {secret}" in output
    assert secret not in paths(simulation, "host2", "absent")


@pytest.mark.exhaustive
def test_a_second_run_replaces_nothing(simulation):
    simulation.world["replaced"] = ["ca", "token"]
    simulation.world["marked"] = {"host1": [{**MARK, "evidence": MARK["since"]}]}
    simulation.world["contents"]["host2"] = {}
    kept = keep(simulation, f"host2-breach-{MACHINE}-20261129T203912Z.tar.gz")
    status, output = simulation.run("breach", *ONE)
    assert status == 0, output[-3000:]
    assert calls(simulation, "tunnel_ca", phase="added") == []
    assert [c["arguments"].get("token_version") for c in calls(simulation, "tunnel_token")] == [
        None
    ]
    assert calls(simulation, "support") == []
    assert "nothing more was collected" in output
    assert f"evidence was collected by an earlier run: {kept}" in output


@pytest.mark.parametrize(
    ("policy", "audit"),
    [
        ("strict", False),
        ("strict", True),
        pytest.param("none", False, marks=pytest.mark.exhaustive),
    ],
)
def test_in_strict_mode_ssh_comes_from_the_same_networks(simulation, policy, audit):
    """The module adds the address of the present session, which they may not have."""
    networks = ["192.0.2.0/24", "fd00::/64"]
    simulation.variables.update(
        firewall_host_policy=policy, firewall_ssh_sources=networks, firewall_audit=audit
    )
    status, output = simulation.run("breach", *ONE)
    assert status == 0, output[-3000:]
    (shutting,) = calls(simulation, "containment")
    named = policy == "strict" and not audit
    assert shutting["arguments"]["ssh_sources"] == (networks if named else [])
    rules = shutting["arguments"]["rules"]
    assert ("\t\tip saddr $ssh_ip tcp dport $ssh accept" in rules) is named
    assert ("\t\tip6 daddr $ssh_ip6 tcp sport $ssh tcp flags" in rules) is named
    assert ("\n\t\ttcp dport $ssh accept" in rules) is not named


def test_a_host_that_cannot_be_reached_hinders_nobody(simulation):
    simulation.attack("host2", unreachable=True)
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert "host2 was not taken out completely" in output
    for said in ("NO evidence was collected", "NOT contained", "NOT wiped", "Cut it off at"):
        assert said in output, said
    assert position(simulation, "tunnel_ca", "host1", phase="added") < position(
        simulation, "tunnel_ca", "host1", phase="retired"
    )
    assert_let_go(simulation)


def assert_let_go(simulation):
    """Assert that the lease was given back, and that only a look without one came after it."""
    *_others, released, look = calls(simulation, "state_host")
    assert released["arguments"]["state"] == "released"
    assert look["arguments"]["_ansible_check_mode"] is True


def test_the_state_host_is_taken_out(simulation):
    """Nothing is read there; its CA is lost, and another host has the state from now on."""
    simulation.world["contents"]["host2"] = {
        simulated_hosts.CONFIG: {
            "ca.crt": simulated_hosts.CA.strip(),
            "members.json": json.dumps({"replicas": ["host1", "host2"], "state_host": "host1"}),
        }
    }
    simulation.world["remembered"] = {"host2": {"state_host": "host1", "replicas": ["host1"]}}
    status, output = simulation.run("breach", *STATE_HOST)
    assert status == 0, output[-3000:]
    assert {call["host"] for call in calls(simulation, "state_host")} == {"host2"}
    assert {call["host"] for call in calls(simulation, "tunnel_ca")} == {"host2"}
    previous = [
        entry
        for call in calls(simulation, "file_set")
        for entry in call["arguments"]["entries"]
        if entry["path"].endswith("ca-previous.crt")
    ]
    assert [entry["content"] for entry in previous] == [simulated_hosts.CA]
    assert not calls(simulation, "state_restore")
    asked = [call["module"] for call in simulation.calls() if call["host"] == "host1"]
    assert set(asked) == TAKEN_OUT
    assert {
        json.loads(text)["state_host"] for _at, text in written(simulation, "host2", "members.json")
    } == {"host2"}


def test_the_id_of_the_tunnel_is_not_taken_from_it(simulation):
    simulation.variables["mcp_tunnel_id"] = ""
    status, output = simulation.run("breach", *STATE_HOST)
    assert status != 0
    assert "mcp_tunnel_id: is not set, and host2, the state host from now on" in output
    assert "host1 is marked, and no credentials of the others were replaced" in output
    mark, *released = [call["arguments"] for call in calls(simulation, "state_host")]
    assert (list(mark["breached"]), mark["note"]) == (["host1"], True)
    assert {each["state"] for each in released} == {"released"}
    assert calls(simulation, "tunnel_ca") == calls(simulation, "tunnel_token") == []


def test_nobody_guesses_who_takes_the_place_of_the_state_host(simulation):
    """It is contained nevertheless, and nothing of the others is changed."""
    status, output = simulation.run("breach", "-e", '{"mcp_tunnel_breached": ["host1"]}')
    assert status != 0
    assert "mcp_tunnel_state_host: is not set, and host1, the state host, was broken" in output
    assert calls(simulation, "containment")[0]["host"] == "host1"
    assert {call["module"] for call in simulation.calls() if call["host"] != "host1"} == {
        "public_files"
    }


def test_another_host_that_is_away_hinders_neither_containment_nor_mark(simulation):
    simulation.attack("host3", unreachable=True)
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert shut(simulation) < position(simulation, "state_host", "host1", breached=FOUND)
    assert "host3 could not be reached, or failed above. host2 is marked" in output
    assert calls(simulation, "tunnel_ca") == []
    assert calls(simulation, "state_host")[-1]["arguments"]["state"] == "released"


@pytest.mark.exhaustive
def test_without_its_state_host_the_mark_is_missing_and_the_containment_is_not(simulation):
    simulation.attack("host1", unreachable=True)
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert shut(simulation)
    assert paths(simulation, "host2", "link")
    assert calls(simulation, "tunnel_ca") == []
    assert "host2 is NOT marked, and no credentials of the others were replaced" in output


def test_services_that_do_not_stop_hinder_no_containment(simulation):
    simulation.attack("host2", "replica", merge={"failed": True, "msg": "it does not stop"})
    simulation.attack("host2", "systemd_service", arguments={"state": "stopped"}, status=1, raw="")
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    (killed,) = calls(simulation, "command")
    assert killed["arguments"]["argv"][:3] == ["systemctl", "kill", "--signal=SIGKILL"]
    assert shut(simulation) < simulation.calls().index(killed)
    assert paths(simulation, "host2", "link")
    assert "did not leave the edge in good order" in output
    assert "services NOT stopped: " in output
    assert RECORDS in paths(simulation, "host2", "absent")
    assert "lets SSH through alone" in output
    assert calls(simulation, "tunnel_ca", phase="retired")


@pytest.mark.exhaustive
def test_a_unit_that_cannot_be_masked_keeps_no_timer(simulation):
    """Whatever stands in the way of one: the rest of the host is brought down all the same."""
    simulation.attack("host2", "file_set", merge={"failed": True, "msg": "is immutable"})
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert "services NOT masked: " in output
    timer = "/etc/systemd/system/mcp-tunnel-renew-cert@default.timer"
    (removing,) = [
        call
        for call in calls(simulation, "file_set")
        if call["host"] == "host2" and timer in json.dumps(call["arguments"])
    ]
    assert {each["state"] for each in removing["arguments"]["entries"]} == {"absent"}
    assert simulation.calls().index(removing) < max(
        simulation.calls().index(call)
        for call in calls(simulation, "systemd_service", daemon_reload=True)
    )


@pytest.mark.exhaustive
def test_a_firewall_that_cannot_be_shut_hinders_nothing_else(simulation):
    simulation.attack("host2", "containment", merge={"failed": True, "msg": "no nft"})
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert "NOT contained: " in output
    assert paths(simulation, "host2", "link")
    assert simulated_hosts.CONFIG in paths(simulation, "host2", "absent")


def test_what_was_not_collected_is_not_wiped(simulation):
    simulation.attack("host2", "support", merge={"failed": True, "msg": "no space"})
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert simulated_hosts.CONFIG not in paths(simulation, "host2", "absent")
    assert RECORDS not in paths(simulation, "host2", "absent")
    assert "NOT wiped: there is no evidence yet" in output
    assert "evidence was NEVER collected" in output
    assert calls(simulation, "tunnel_ca", phase="retired"), "the others go on"


def test_evidence_that_is_given_up_is_named(simulation):
    simulation.attack("host2", "support", merge={"failed": True, "msg": "no space"})
    status, output = simulation.run("breach", *ONE, "-e", "mcp_tunnel_without_evidence=true")
    assert status == 0, output[-3000:]
    assert simulated_hosts.CONFIG in paths(simulation, "host2", "absent")
    assert "evidence was NEVER collected" in output


def test_the_evidence_of_a_run_that_was_killed_is_found(simulation):
    """It was killed before the mark, so the state host knows nothing of it."""
    simulation.world["contents"]["host2"] = {}
    kept = keep(simulation, f"host2-breach-{MACHINE}-20261129T203912Z.tar.gz")
    status, output = simulation.run("breach", *ONE)
    assert status == 0, output[-3000:]
    assert f"evidence was collected by an earlier run: {kept}" in output


def keep(simulation, name):
    """Let an archive of this name be on the controller; return its path."""
    path = simulation.directory / "archives" / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(b"")
    return path


OTHERS = [
    "host2-20261129T203912Z.tar.gz",
    "host2-breach-20261129T203912Z.tar.gz",
    "host2-breach-1111111111111111-20261129T203912Z.tar.gz",
    f"host3-breach-{MACHINE}-20261129T203912Z.tar.gz",
]


@pytest.mark.parametrize("removed", [True, pytest.param(False, marks=pytest.mark.exhaustive)])
def test_other_archives_are_no_evidence(simulation, removed):
    """One of support.yml, of the machine that had the name before, or of another host.

    It makes no difference whether the instance was removed, where the collection fails.
    """
    for name in OTHERS:
        keep(simulation, name)
    if removed:
        simulation.world["contents"]["host2"] = {}
    simulation.attack("host2", "support", merge={"failed": True, "msg": "no space"})
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert "evidence was NEVER collected" in output
    (found,) = {
        found["host2"]["evidence"]
        for call in calls(simulation, "state_host")
        if (found := call["arguments"].get("breached"))
    }
    assert found is False


@pytest.mark.parametrize(
    "left",
    [
        {},
        pytest.param({RECORDS: {}}, marks=pytest.mark.exhaustive),
        pytest.param({simulated_hosts.CONFIG: {}}, marks=pytest.mark.exhaustive),
    ],
)
def test_a_thief_who_removes_the_instance_does_not_keep_the_rest_from_being_collected(
    simulation, left
):
    """Journals and rules are still there. So it is where a run elsewhere has wiped it."""
    simulation.world["contents"]["host2"] = left
    status, output = simulation.run("breach", *ONE)
    assert status == 0, output[-3000:]
    (asked,) = calls(simulation, "support", state="made")
    assert asked["arguments"]["removed"] is True
    (archive,) = (simulation.directory / "archives").iterdir()
    assert archive.name.startswith(f"host2-breach-{MACHINE}-")
    assert simulated_hosts.STATE in paths(simulation, "host2", "absent")


@pytest.mark.exhaustive
def test_nothing_is_wiped_where_nothing_was_collected_and_nothing_seems_left(simulation):
    simulation.world["contents"]["host2"] = {}
    simulation.attack("host2", "support", merge={"failed": True, "msg": "no space"})
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert "NOT wiped: there is no evidence yet" in output
    assert simulated_hosts.STATE not in paths(simulation, "host2", "absent")
    assert "evidence was NEVER collected" in output


def test_a_canary_window_or_soak_hinders_nothing(simulation):
    """The canary is the host itself, and the window is closed."""
    simulation.variables.update(
        mcp_tunnel_canary=["host2"], mcp_tunnel_soak="1h", mcp_tunnel_window="Mon 03:00-03:01 UTC"
    )
    status, output = simulation.run("breach", *ONE)
    assert status == 0, output[-3000:]
    assert calls(simulation, "tunnel_ca", phase="retired")
    assert calls(simulation, "replica_traffic") == []


@pytest.mark.parametrize("given", ["", "host2"])
def test_what_the_others_remember_is_judged_before_any_secret_is_sent(simulation, given):
    """Also where the variables lead to the host itself, which says nothing of a mark."""
    mark = {**MARK, "evidence": ""}
    memory = {"state_host": "host1", "replicas": ["host1"], "breached": [mark]}
    simulation.world["remembered"] = {"host3": memory}
    simulation.variables["mcp_tunnel_state_host"] = given
    status, output = simulation.run("site")
    assert status != 0
    assert "members.json on host3: host2 was taken out as broken into (2026-11-29T20" in output
    assert {call["module"] for call in simulation.calls()} == {"host_check"}


OF_HOST1 = {"name": "host1", "machine": "1" * 16, "since": MARK["since"], "evidence": ""}
LEFT = {"state_host": "host2", "replicas": ["host2", "host3"], "breached": [OF_HOST1]}


def remembering(simulation, **memories):
    """Let replicas remember these, as both modules say it that read it."""
    simulation.world["remembered"] = memories
    for name, memory in memories.items():
        text = json.dumps(memory)
        files = {"ca.crt": simulated_hosts.CA.strip(), "members.json": text}
        simulation.world["contents"].setdefault(name, {})[simulated_hosts.CONFIG] = files


@pytest.mark.parametrize("given", ["", "host1"])
@pytest.mark.parametrize("forget", [[], ["host1"]])
def test_a_former_state_host_that_states_another_machine_gets_no_token(simulation, given, forget):
    """The inventory still names it, and it was taken out as broken into."""
    remembering(simulation, host2=LEFT, host3=LEFT)
    stored = {"ca.crt": simulated_hosts.CA.strip(), "tunnel-domain": simulated_hosts.DOMAIN}
    simulation.world["contents"]["host2"][simulated_hosts.STATE] = stored
    to_manual(simulation)
    simulation.variables.update(mcp_tunnel_state_host=given, mcp_tunnel_forget=forget)
    status, output = simulation.run("site")
    if given or not forget:
        assert status != 0
        assert "host1 was taken out as broken into (2026-11-29T20" in output
        assert {call["module"] for call in simulation.calls()} == {"host_check"}
        return
    # It was installed anew, comes back as a replica, and is no state host.
    assert status == 0, output[-3000:]
    assert {call["host"] for call in calls(simulation, "state_host")} == {"host2"}
    assert {name for call in calls(simulation, "state_host") for name in installed_anew(call)} == {
        "host1"
    }


@pytest.mark.parametrize("limit", ["host4", "host1,host4"])
def test_a_run_on_new_hosts_alone_asks_those_who_remember(simulation, limit):
    """The variables still lead to the former state host, which says nothing of a mark."""
    remembering(simulation, host2=LEFT)
    simulation.world["remembered"]["host1"] = {"state_host": "host1", "replicas": []}
    simulation.hosts["host4"] = {}
    simulation.variables["mcp_tunnel_state_host"] = "host1"
    simulation.attack("host3", "host_check", unreachable=True)
    status, output = simulation.run("site", "--limit", limit)
    assert status != 0
    assert "members.json on host2: host1 was taken out as broken into" in output
    assert {call["module"] for call in simulation.calls()} == {"host_check"}


def installed_anew(call):
    """Return the hosts of which this call says so."""
    return call["arguments"].get("installed_anew", [])


@pytest.mark.parametrize(
    ("mark", "check"), [(OF_HOST1, []), ({**OF_HOST1, "name": "x"}, ["--check"])]
)
def test_a_former_state_host_gets_no_mark_and_is_remembered_by_nobody(simulation, mark, check):
    """A second breach, while the variables still name it; it may have another name by now, too."""
    if mark["name"] == "x":
        mark = {**mark, "machine": b"host1".hex().ljust(16, "0")}
    memory = {**LEFT, "breached": [mark]}
    remembering(simulation, host2={**memory, "replicas": []}, host3={**memory, "replicas": []})
    simulation.variables["mcp_tunnel_state_host"] = "host1"
    status, output = simulation.run("breach", *ONE, *check)
    assert status != 0
    assert "mcp_tunnel_state_host: is host1" in output
    assert "taken out as broken into (2026-11-29T20:00:00Z), as host3 remembers" in output
    assert "host2 is NOT marked" in output
    assert shut(simulation) if not check else True
    assert calls(simulation, "state_host", breached=FOUND) == []
    assert written(simulation, "host3", "members.json") == []
    assert calls(simulation, "tunnel_token") == []


def test_a_former_state_host_signs_no_certificate(simulation):
    """The CA that it has is archived: clients trust no certificate of it."""
    remembering(simulation, host2=LEFT, host3=LEFT)
    simulation.variables["mcp_tunnel_state_host"] = "host1"
    status, output = simulation.run("renew_cert")
    assert status != 0
    assert "host1, taken out as broken into (2026-11-29T20:00:00Z), as host2 remembers" in output
    assert {call["arguments"]["state"] for call in calls(simulation, "state_host")} <= {"released"}
    assert calls(simulation, "server_cert") == []


def test_the_mark_does_not_wait_for_a_mistake_in_what_is_forgotten(simulation):
    """No host of the inventory can be forgotten. The run says so once the mark is there."""
    simulation.variables["mcp_tunnel_forget"] = ["host3"]
    _status, output = simulation.run("breach", *ONE)
    mark, *later = calls(simulation, "state_host", breached=FOUND)
    assert mark["arguments"]["forget"] == [], output[-3000:]
    assert later[0]["arguments"]["forget"] == ["host3"]


@pytest.mark.parametrize("check", [[], pytest.param(["--check"], marks=pytest.mark.exhaustive)])
def test_a_wrong_state_host_is_refused_before_anything_is_written(simulation, check):
    """The one that the replicas remember was not broken into, and has the state."""
    named = {"mcp_tunnel_breached": ["host2"], "mcp_tunnel_state_host": "host3"}
    status, output = simulation.run("breach", "-e", json.dumps(named), *check)
    assert status != 0
    assert "mcp_tunnel_state_host: is host3, but the replicas remember host1, which has" in output
    assert "host2 is NOT marked" in output
    assert calls(simulation, "state_host", breached=FOUND) == []
    assert written(simulation, "host1", "members.json") == []
    assert written(simulation, "host3", "members.json") == []
    assert calls(simulation, "tunnel_ca") == []


def test_a_state_that_was_moved_is_taken_where_it_is(simulation):
    simulation.world["contents"]["host1"] = {simulated_hosts.CONFIG: {}}
    named = {"mcp_tunnel_breached": ["host2"], "mcp_tunnel_state_host": "host3"}
    status, output = simulation.run("breach", "-e", json.dumps(named))
    assert status == 0, output[-3000:]
    assert {call["host"] for call in calls(simulation, "state_host")} == {"host3"}


INNOCENT = {**MARK, "name": "host3", "machine": "", "evidence": ""}


def test_a_state_host_that_marks_a_host_which_it_serves_is_refused(simulation):
    """An honest one would have refused the run itself. Nobody remembers such a mark."""
    simulation.world["marked"] = {"host1": [INNOCENT]}
    status, output = simulation.run("site")
    assert status != 0
    assert "host1: its answer to mcp_tunnels.stack.state_host" in output
    assert "marks a host that it lets have credentials" in output
    assert [call for call in calls(simulation, "file_set") if "members.json" in str(call)] == []


def test_a_state_host_that_does_not_mark_is_refused(simulation):
    simulation.attack("host1", "state_host", merge={"breach": {"marked": []}})
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert "has no mark of a host that is broken into" in output
    assert calls(simulation, "tunnel_token") == []


@pytest.mark.parametrize("playbook", [pytest.param("site", marks=pytest.mark.exhaustive), "breach"])
def test_no_replica_of_the_inventory_is_marked_in_the_memory_of_another(simulation, playbook):
    """A hostile state host would keep it from every run."""
    former = {**MARK, "name": "former", "machine": "2" * 16, "evidence": ""}
    known = {**former, "since": "2026-11-01T20:00:00Z"}
    learned = {**known, "name": "older", "machine": ""}
    told = {**learned, "machine": "3" * 16}
    lies = [INNOCENT, {**former, "machine": ""}, told]
    memory = {"state_host": "host1", "replicas": ["host1", "host2", "host3"]}
    remembering(simulation, host2={**memory, "breached": [known, learned]})
    simulation.world["marked"] = {"host1": lies}
    arguments = ["--limit", "host1,host2"]
    if playbook == "breach":
        simulation.hosts["host4"] = {}
        arguments = ["-e", '{"mcp_tunnel_breached": ["host4"]}']
    _status, output = simulation.run(playbook, *arguments)
    texts = [text for _at, text in written(simulation, "host2", "members.json")]
    assert texts, output[-3000:]
    marks = {mark["name"]: mark for mark in json.loads(texts[0])["breached"]}
    assert (marks.pop("former"), marks.pop("older")) == (known, told)
    assert list(marks) == (["host4"] if playbook == "breach" else [])


def told(letter):
    """Return as many marks as a state host may say, with the longest names."""
    wide = {**MARK, "machine": "2" * 64, "evidence": MARK["since"]}
    return [{**wide, "name": f"{letter}{number:0253}"} for number in range(500)]


def test_a_state_host_that_tells_too_many_marks_does_not_fill_the_memory(simulation):
    """Each time others, and no more than breaches to come leave room for."""
    own = told("a")[:3]
    memory = {"state_host": "host1", "replicas": ["host1", "host2", "host3"]}
    remembering(simulation, host2={**memory, "breached": own})
    simulation.world["marked"] = {"host1": told("b")}
    status, output = simulation.run("site")
    assert status == 0, output[-3000:]
    (text,) = {text for _at, text in written(simulation, "host2", "members.json")}
    marks = json.loads(text)["breached"]
    assert marks == own + told("b")[:397]


def test_a_memory_that_is_full_keeps_no_state_host_from_its_mark(simulation):
    """It has filled the memory of the others, with names as long as they may be."""
    full = {"state_host": "host1", "replicas": [], "breached": told("a")}
    remembering(simulation, host3=full)
    status, output = simulation.run("breach", *STATE_HOST)
    assert status == 0, output[-3000:]
    names = [mark["name"] for mark in told("a")[:499]] + ["host1"]
    for _at, text in written(simulation, "host3", "members.json"):
        assert [mark["name"] for mark in json.loads(text)["breached"]] == names


def to_manual(simulation):
    """Let the tunnel be in mode manual, in which each run has the token."""
    for name in [name for name in simulation.variables if name.startswith("mcp_tunnel_fed")]:
        del simulation.variables[name]
    simulation.variables["mcp_tunnel_mode"] = "manual"


@pytest.mark.exhaustive
def test_check_mode_says_what_would_be_done(simulation):
    status, output = simulation.run("breach", "--check", *ONE)
    assert status == 0, output[-3000:]
    assert "host2: the evidence would be in" in output
    assert "would be stopped and masked" in output
    earnest = [c for c in simulation.calls() if not c["arguments"].get("_ansible_check_mode")]
    # Check mode, too, has kept an access token.
    assert {call["module"] for call in earnest} <= {"file_set"}
    assert all(
        entry["path"].startswith("/run/mcp-tunnel-provision/")
        for call in earnest
        for entry in call["arguments"]["entries"]
    )
    assert not (simulation.directory / "archives").exists()


def test_mode_manual_contains_and_says_what_is_to_do(simulation):
    to_manual(simulation)
    status, output = simulation.run("breach", *ONE)
    assert status == 0, output[-3000:]
    assert output.count("To do") == 1, "not that the CA in use is to be registered as well"
    assert "To do now: rotate the token in the Console" in output
    assert "Then replace the CA" in output
    (mark,) = [c for c in calls(simulation, "state_host", note=True) if c["arguments"]["breached"]][
        :1
    ]
    assert "token" not in mark["arguments"], "the marks are judged first"
    assert calls(simulation, "tunnel_ca", phase="added") == []
    assert calls(simulation, "tunnel_ca", phase="retired") == []
    assert position(simulation, "replica", "host2", state="absent")


def test_other_duties_go_by_no_names(simulation):
    status, output = simulation.run("site", *ONE)
    assert status != 0
    assert "is for breach, and deploy does not go by it" in output
    assert simulation.calls() == []


def test_each_duty_that_gives_credentials_says_to_whom(simulation):
    """The state host refuses those that it has marked."""
    status, output = simulation.run("site")
    assert status == 0, output[-3000:]
    held = [
        c["arguments"] for c in calls(simulation, "state_host") if "inventory" in c["arguments"]
    ]
    assert {tuple(call["credentials_for"]) for call in held} == {("host1", "host2", "host3")}
    assert {tuple(call["breached"]) for call in held} == {()}
