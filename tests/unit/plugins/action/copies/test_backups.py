"""Backup and restore over simulated hosts: what reaches the controller, and what a host gets."""

from __future__ import annotations

import base64
import hashlib
import json
import stat

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import (
    openssl,
    simulated_hosts,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.copies.backups import (
    with_copies,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import make_token


@pytest.fixture
def simulation(tmp_path):
    """Two replicas in mode manual."""
    return Simulation(tmp_path)


def calls(simulation, module):
    """Return the arguments of all calls of a module, with the host that was asked."""
    found = [call for call in simulation.calls() if call["module"] == module]
    return [(call["host"], call["arguments"]) for call in found]


def plain(output):
    """Return a run's output on one line."""
    return " ".join(output.split())


def test_a_backup_and_the_next_one(simulation):
    kept = with_copies(simulation, lost=False)
    status, output = simulation.run("backup")
    assert status == 0, output[-3000:]
    (copy,) = kept.folder.glob("*.age")
    assert copy.name.startswith("default-2")
    assert copy.read_text() == simulated_hosts.armored()
    for path in kept.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    about = json.loads((kept.folder / f"{copy.name}.json").read_text())
    assert about["sha256"] == hashlib.sha256(copy.read_bytes()).hexdigest()
    assert about["size"] == copy.stat().st_size
    assert about["state"] == "ef" * 32
    host, asked = calls(simulation, "state_copy")[0]
    assert host == "host1"
    assert asked["recipients"] == [kept.recipient]
    released = calls(simulation, "state_host")[-1][1]
    assert released["state"] == "released"
    assert released["copied"]["kind"] == "backup"
    assert released["copied"]["sha256"] == about["sha256"]

    status, output = simulation.run("backup")
    assert status == 0, output[-3000:]
    assert calls(simulation, "state_copy")[-1][1]["unless"] == "ef" * 32
    assert list(kept.folder.glob("*.age")) == [copy]
    assert "is of the present state" in plain(output)
    assert kept.identity not in output


def test_check_mode_writes_nothing(simulation):
    kept = with_copies(simulation, lost=False)
    simulation.attack("host1", "state_copy", merge={"content": ""})
    status, output = simulation.run("backup", "--check")
    assert status == 0, output[-3000:]
    assert "changed=1" in output
    assert not kept.folder.exists()


REFUSED_VARIABLES = {
    "backup": [
        ({"mcp_tunnel_backup_recipients": []}, "mcp_tunnel_backup_recipients: is empty"),
        ({"mcp_tunnel_backup_dest": ""}, "mcp_tunnel_backup_dest: is not set"),
        (
            {"mcp_tunnel_state_is_persistent": False},
            "mcp_tunnel_backup_dest: is a directory of this controller, which is a container",
        ),
    ],
    "restore": [
        ({"mcp_tunnel_backup_identity_file": ""}, "mcp_tunnel_backup_identity_file: is not set"),
    ],
}


@pytest.mark.parametrize("playbook", REFUSED_VARIABLES)
def test_variables_that_are_refused_before_any_host_is_touched(simulation, playbook):
    with_copies(simulation)
    good = dict(simulation.variables)
    for changes, message in REFUSED_VARIABLES[playbook]:
        simulation.settings = {"container": "yes"}
        simulation.variables = {**good, **changes}
        status, output = simulation.run(playbook)
        assert status != 0
        assert message in plain(output), message
    assert simulation.calls() == []


def test_a_state_is_restored(simulation):
    kept = with_copies(simulation)
    status, output = simulation.run("restore")
    assert status == 0, output[-3000:]
    ((host, given),) = calls(simulation, "state_restore")
    assert host == "host1"
    sent = {name: base64.b64decode(text) for name, text in given["files"].items()}
    assert sent == kept.files
    # The replicas remember it.
    written = sorted((h, a["entries"][0]["content"]) for h, a in calls(simulation, "file_set"))
    assert [host for host, _content in written] == ["host1", "host2"]
    for _host, content in written:
        told = json.loads(content)
        assert told == {"replicas": ["host1", "host2"], "state_host": "host1"}
    said = json.dumps(simulation.calls())
    assert kept.identity not in said
    assert kept.identity not in output
    for secret in (kept.files["tunnel-token"].decode(), kept.files["ca.key"].decode()[40:90]):
        assert secret not in output


def test_a_backup_that_does_not_fit_changes_nothing(simulation):
    """plugin_utils/backups/test_judge.py has all kinds."""
    kept = with_copies(simulation)
    kept.backup.write_text(kept.write(instance="lab"))
    status, output = simulation.run("restore")
    assert status != 0
    assert "is of instance lab" in plain(output)
    assert "no host was changed" in plain(output)
    assert calls(simulation, "state_restore") == []
    assert calls(simulation, "file_set") == []
    assert calls(simulation, "state_host")[-1][1]["state"] == "released"
    assert kept.identity not in output


def test_a_host_that_has_the_state_is_not_passed_over(simulation):
    kept = with_copies(simulation)
    simulation.variables["mcp_tunnel_state_host"] = "host2"
    simulation.world["contents"]["host1"][simulated_hosts.STATE] = {
        "ca.crt": kept.files["ca.crt"].decode().strip()
    }
    status, output = simulation.run("restore")
    assert status != 0
    assert "host1 has the CA of instance default" in plain(output)
    assert calls(simulation, "state_restore") == []


def remember_a_breach(simulation, name, machine, replicas=("host2",)):
    """Let host2 remember that a host was broken into."""
    mark = {"name": name, "machine": machine, "since": "2026-11-29T20:00:00Z", "evidence": ""}
    memory = {"state_host": "host2", "replicas": list(replicas), "breached": [mark]}
    files = simulation.world["contents"].setdefault("host2", {})
    files.setdefault(simulated_hosts.CONFIG, {})["members.json"] = json.dumps(memory)


HOST1 = b"host1".hex().ljust(16, "0")


@pytest.mark.parametrize(
    ("name", "machine", "told"),
    [
        pytest.param("host1", "", "host1, taken out", marks=pytest.mark.exhaustive),
        ("host1", "1" * 16, "host1, taken out"),
        # The same machine was renamed in the inventory.
        ("former", HOST1, "host1 (as former), taken out"),
    ],
)
def test_a_state_host_that_was_broken_into_gets_no_state(simulation, name, machine, told):
    """As the others remember: it says nothing of a mark itself."""
    with_copies(simulation)
    simulation.variables["mcp_tunnel_state_host"] = "host1"
    remember_a_breach(simulation, name, machine)
    status, output = simulation.run("restore")
    assert status != 0
    assert f"{told} as broken into (2026-11-29T20:00:00Z), as host" in plain(output)
    assert calls(simulation, "state_restore") == []


@pytest.mark.parametrize(
    ("machine", "replicas"),
    [
        (HOST1, ["host1", "host2"]),
        pytest.param("1" * 16, ["host2"], marks=pytest.mark.exhaustive),
        pytest.param("", ["host2"], marks=pytest.mark.exhaustive),
    ],
)
def test_another_machine_gets_the_state(simulation, machine, replicas):
    """Also a clone, which was a replica beside the host that was broken into."""
    with_copies(simulation)
    simulation.variables["mcp_tunnel_state_host"] = "host1"
    remember_a_breach(simulation, "former", machine, replicas)
    status, output = simulation.run("restore")
    assert status == 0, output[-3000:]
    assert calls(simulation, "state_restore")


def test_what_the_state_host_refuses_is_told(simulation):
    with_copies(simulation)
    answer = {"failed": True, "msg": "/var/lib/x: has another state than the copy."}
    simulation.attack("host1", "state_restore", merge=answer)
    status, output = simulation.run("restore")
    assert status != 0
    assert "has another state than the copy" in plain(output)
    assert calls(simulation, "file_set") == []


def test_a_place_for_metrics_that_is_gone_hinders_no_restore(simulation):
    with_copies(simulation)
    simulation.variables["mcp_tunnel_textfile_dir"] = "/none"
    status, output = simulation.run("restore")
    assert status == 0, output[-3000:]
    held = [a for _host, a in calls(simulation, "state_host") if a.get("state") != "released"]
    assert {a["textfile_dir"] for a in held} == {""}
    assert calls(simulation, "state_host")[-1][1]["textfile_dir"] == "/none"


def test_a_replica_that_cannot_remember_leaves_no_lease(simulation):
    with_copies(simulation)
    del simulation.hosts["host2"]
    answer = {"failed": True, "msg": "members.json: Read-only file system"}
    simulation.attack("host1", "file_set", merge=answer)
    status, output = simulation.run("restore")
    assert status != 0
    assert "The state is back on host1, and host1 does not remember that host" in plain(output)
    assert "Read-only file system" in plain(output)
    assert calls(simulation, "state_host")[-1][1]["state"] == "released"


@pytest.mark.parametrize(
    "playbook", ["restore", pytest.param("recover", marks=pytest.mark.exhaustive)]
)
def test_one_backup_for_several_tunnels_is_refused(tmp_path, playbook):
    simulation = Simulation(tmp_path, "wif")
    with_copies(simulation)
    ports = ("proxy_listen_port", "proxy_admin_port", "cloudflared_metrics_port")
    other = {port: 9000 + number for number, port in enumerate(ports)}
    simulation.hosts["host2"] = {
        "mcp_tunnel_instance": "lab",
        "mcp_tunnel_domain": "efgh5678.tunnel.example",
        "mcp_tunnel_id": "tnl_02",
        **other,
    }
    status, output = simulation.run(playbook)
    assert status != 0
    assert "mcp_tunnel_backup_file: is the state of one instance" in plain(output)
    assert simulation.calls() == []


class TestOnItsWay:
    """The CA's key is in no temporary file, neither here nor on the host."""

    def test_the_state_is_sent_over_the_connection_alone(self, simulation):
        """Ansible's default is without pipelining."""
        with_copies(simulation)
        simulation.settings = {"ANSIBLE_PIPELINING": "0"}
        status, output = simulation.run_tasks([restored(simulation)])
        assert status == 0, output[-3000:]
        assert len(calls(simulation, "state_restore")) == 1
        assert [call for call in simulation.calls() if "put_file" in call] == []

    def test_where_that_is_not_possible_nothing_is_sent(self, simulation):
        with_copies(simulation)
        simulation.settings = {"ANSIBLE_KEEP_REMOTE_FILES": "1"}
        status, output = simulation.run_tasks([restored(simulation)])
        assert status != 0
        assert "ansible_pipelining: cannot be used here" in plain(output)
        assert simulation.calls() == []


def restored(simulation):
    """Return the task that puts the backup back."""
    variables = simulation.variables
    arguments = {
        "path": simulated_hosts.STATE,
        "instance": "default",
        "identity_file": variables["mcp_tunnel_backup_identity_file"],
        "file": variables["mcp_tunnel_backup_file"],
    }
    return {
        "mcp_tunnels.stack.state_restore": arguments,
        "when": "inventory_hostname == 'host1'",
    }


def test_a_host_that_is_gone_hinders_nobody(simulation):
    """The lost state host is still in the inventory, and first."""
    with_copies(simulation)
    simulation.variables["mcp_tunnel_state_host"] = "host2"
    simulation.attack("host1", unreachable=True)
    status, output = simulation.run("restore")
    assert status != 0, "the status of the run shows an unreachable host"
    assert [host for host, _arguments in calls(simulation, "state_restore")] == ["host2"]
    (host, given) = calls(simulation, "file_set")[-1]
    assert host == "host2"
    assert '"state_host": "host2"' in given["entries"][0]["content"]
    assert make_token() not in output


STANDBY = "/var/lib/mcp-tunnel-standby/default"


def kept_by(simulation, host, text):
    """Let a replica keep this copy."""
    simulation.world["contents"][host] = {
        **simulation.world["contents"][host],
        STANDBY: {"state.age": text},
    }


def test_other_replicas_keep_a_copy(simulation):
    with_copies(simulation, lost=False)
    status, output = simulation.run("site")
    assert status == 0, output[-3000:]
    assert [host for host, _arguments in calls(simulation, "state_copy")] == ["host1"]
    written = [
        (host, entry)
        for host, arguments in calls(simulation, "file_set")
        for entry in arguments["entries"]
        if entry["path"].startswith(STANDBY) and "secret_content" in entry
    ]
    ((host, entry),) = written
    assert host == "host2"
    assert entry["path"] == f"{STANDBY}/state.age"
    assert entry["secret_content"] == simulated_hosts.armored()
    assert entry["mode"] == "0600"
    noted = [a["copied"] for _host, a in calls(simulation, "state_host") if a.get("copied")]
    assert [(copied["kind"], copied["hosts"]) for copied in noted] == [("standby", ["host2"])]
    sha256 = hashlib.sha256(simulated_hosts.armored().encode()).hexdigest()
    assert noted[0]["sha256"] == sha256
    # The next run: state host and replica agree on the copy, and neither is asked for more.
    before = len(simulation.calls())
    simulation.world |= {"standby_known": sha256, "standby": {"host2": sha256}}
    simulation.attack("host1", "tunnel_token", merge={"changed": False})
    status, output = simulation.run("site")
    assert status == 0, output[-3000:]
    assert "state_copy" not in [call["module"] for call in simulation.calls()[before:]]
    released = calls(simulation, "state_host")[-1][1]
    assert released["seen"] == {"host2": sha256}
    assert released["seen_at"].endswith("Z")


def removed(simulation):
    """Return (host, path) of all that was removed."""
    return {
        (host, entry["path"])
        for host, arguments in calls(simulation, "file_set")
        for entry in arguments["entries"]
        if entry.get("state") == "absent"
        and entry["path"].startswith(("/var/lib/mcp-tunnel", "/var/lib/textfiles"))
    }


UNFINISHED = "/var/lib/mcp-tunnel/.default.restoring"
METRICS = "/var/lib/textfiles/mcp_tunnel_state_default.prom"


def test_what_a_former_state_host_has_left_is_removed(simulation):
    """host2 was the state host, and host1 kept its copy; a restore on each was killed."""
    with_copies(simulation, lost=False)
    simulation.variables["mcp_tunnel_textfile_dir"] = "/var/lib/textfiles"
    simulation.world |= {
        "stale": {name: [UNFINISHED, METRICS] for name in ("host1", "host2")},
        "standby": {"host1": "ab" * 32, "host2": "ab" * 32},
    }
    status, output = simulation.run("site")
    assert status == 0, output[-3000:]
    assert removed(simulation) == {
        ("host1", UNFINISHED),
        ("host1", STANDBY),
        ("host2", UNFINISHED),
        ("host2", METRICS),
    }


def test_copies_that_are_not_wanted_any_more_are_removed_and_none_is_made(simulation):
    with_copies(simulation, lost=False)
    simulation.variables["mcp_tunnel_standby_copies"] = False
    simulation.world["standby"] = {"host2": "ab" * 32}
    status, output = simulation.run("site")
    assert status == 0, output[-3000:]
    assert removed(simulation) == {("host2", STANDBY)}
    assert calls(simulation, "state_copy") == []
    assert calls(simulation, "state_host")[-1][1]["seen"] == {"host2": ""}


def last_lines(output):
    """Return what a run says at its end, on one line."""
    return plain(output.partition("Say what is proven")[2])


def test_a_replica_that_cannot_keep_a_copy_stops_nothing(simulation):
    """The last lines say so, and the next run tries again; verify and an alert ask for copies."""
    with_copies(simulation, lost=False)
    simulation.hosts["host3"] = {}
    simulation.world["contents"]["host3"] = dict(simulation.world["contents"]["host2"])
    entries = copy_entries()
    answer = {"failed": True, "msg": f"{STANDBY}: No space left on device"}
    simulation.attack("host2", "file_set", arguments={"entries": entries}, merge=answer)
    status, output = simulation.run("site")
    assert status == 0, output[-3000:]
    assert "host2 keeps no copy of the state" in last_lines(output)
    assert "No space left on device" in last_lines(output)
    noted = [a["copied"] for _host, a in calls(simulation, "state_host") if a.get("copied")]
    assert [copied["hosts"] for copied in noted] == [["host3"]]
    assert {h for h, a in calls(simulation, "replica") if a.get("state") == "good"} == {
        "host1",
        "host2",
        "host3",
    }


def copy_entries():
    """Return the entries that a replica gets for its copy."""
    folders = [STANDBY.rpartition("/")[0], STANDBY]
    return [
        *({"path": path, "state": "directory", "mode": "0700"} for path in folders),
        {
            "path": f"{STANDBY}/state.age",
            "secret_content": simulated_hosts.armored(),
            "mode": "0600",
        },
    ]


@pytest.mark.exhaustive
def test_a_state_host_that_can_make_no_copy_stops_nothing(simulation):
    """Nor does it send an empty one in the place of one that is whole."""
    with_copies(simulation, lost=False)
    simulation.attack("host1", "state_copy", merge={"content": ""})
    status, output = simulation.run("site")
    assert status == 0, output[-3000:]
    assert "host1 has made no copy of its state" in last_lines(output)
    assert "was copied without a content" in last_lines(output)
    paths = {e["path"] for _h, a in calls(simulation, "file_set") for e in a["entries"]}
    assert f"{STANDBY}/state.age" not in paths


def test_restored_from_the_newest_copy_that_fits(simulation):
    kept = with_copies(simulation)
    simulation.variables["mcp_tunnel_backup_file"] = ""
    simulation.hosts["host3"] = {}
    simulation.world["contents"]["host3"] = dict(simulation.world["contents"]["host2"])
    kept_by(simulation, "host1", "hello")
    kept_by(simulation, "host2", kept.write(made_at="2999-11-01T00:00:00Z"))
    kept_by(simulation, "host3", kept.write(made_at="2026-11-02T00:00:00Z"))
    status, output = simulation.run("restore")
    assert status == 0, output[-3000:]
    ((_host, given),) = calls(simulation, "state_restore")
    assert given["made_at"] == "2026-11-02T00:00:00Z"
    said = plain(output.partition("Say what is left to do")[2])
    assert "Taken from the copy on host3." in said
    assert "Trust this CA: host1, host2." in said
    assert "Not taken: the copy on host1: is no file that age has encrypted" in said


def test_recover_takes_a_copy_before_it_makes_a_new_ca(tmp_path):
    simulation = Simulation(tmp_path, "wif")
    kept = with_copies(simulation)
    simulation.variables["mcp_tunnel_backup_file"] = ""
    kept_by(simulation, "host2", kept.write())
    status, output = simulation.run("recover")
    assert [host for host, _arguments in calls(simulation, "state_restore")] == ["host1"]
    assert "The state is that of the copy on host2" in plain(output)
    assert status == 0, output[-3000:]


def test_recover_makes_no_new_ca_by_mistake(tmp_path):
    """A hostile replica has encrypted a state of its own for the operator."""
    simulation = Simulation(tmp_path, "wif")
    kept = with_copies(simulation)
    simulation.variables["mcp_tunnel_backup_file"] = ""
    other = openssl.make_ca(tmp_path)
    kept_by(simulation, "host2", kept.write(ca_crt=other[0].encode(), ca_key=other[1].encode()))
    status, output = simulation.run("recover")
    assert status != 0
    assert "the copy on host2: has the CA" in plain(output)
    assert "For a new CA, leave mcp_tunnel_backup_identity_file out." in plain(output)
    for module in ("state_restore", "file_set", "tunnel_ca"):
        assert calls(simulation, module) == [], module
    assert calls(simulation, "state_host")[-1][1]["state"] == "released"


def test_a_lost_state_is_not_replaced_without_a_request(tmp_path):
    """Neither by a deployment, nor for another tunnel."""
    simulation = Simulation(tmp_path, "wif")
    with_copies(simulation)
    status, output = simulation.run("site")
    assert status != 0
    assert "host1 has no CA of instance default, but host1, host2 have one." in plain(output)
    assert "without one, run recover.yml" in plain(output)
    del simulation.variables["mcp_tunnel_id"]
    status, output = simulation.run("recover")
    assert status != 0
    assert "mcp_tunnel_id: is not set" in plain(output)
    for module in ("state_restore", "file_set", "tunnel_ca"):
        assert calls(simulation, module) == [], module


def test_recover_makes_a_new_ca_where_there_is_no_copy(tmp_path):
    simulation = Simulation(tmp_path, "wif")
    with_copies(simulation)
    simulation.variables["mcp_tunnel_backup_file"] = ""
    status, output = simulation.run("recover")
    assert calls(simulation, "state_restore") == []
    assert "A new CA is made: no replica keeps a copy of the state." in plain(output)
    assert status == 0, output[-3000:]
    held = calls(simulation, "state_host")[0][1]
    assert held["needs_all"], "a replica that is not here would be cut off"
