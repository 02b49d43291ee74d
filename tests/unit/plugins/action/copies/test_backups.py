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


def test_what_the_state_host_refuses_is_told(simulation):
    with_copies(simulation)
    answer = {"failed": True, "msg": "/var/lib/x: has another state than the copy."}
    simulation.attack("host1", "state_restore", merge=answer)
    status, output = simulation.run("restore")
    assert status != 0
    assert "has another state than the copy" in plain(output)
    assert calls(simulation, "file_set") == []


def test_a_host_that_is_gone_hinders_nobody(simulation):
    """The lost state host is still in the inventory, and first."""
    with_copies(simulation)
    simulation.variables["mcp_tunnel_state_host"] = "host2"
    simulation.attack("host1", unreachable=True)
    status, output = simulation.run("restore")
    assert status != 0, "an unreachable host is told by the status of the run"
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


def test_no_copies_on_replicas_if_they_are_not_wanted(simulation):
    with_copies(simulation, lost=False)
    simulation.variables["mcp_tunnel_standby_copies"] = False
    status, output = simulation.run("site")
    assert status == 0, output[-3000:]
    assert calls(simulation, "state_copy") == []


def test_restored_from_the_newest_copy_that_fits(simulation):
    kept = with_copies(simulation)
    simulation.variables["mcp_tunnel_backup_file"] = ""
    simulation.hosts["host3"] = {}
    simulation.world["contents"]["host3"] = dict(simulation.world["contents"]["host2"])
    kept_by(simulation, "host1", "hello")
    kept_by(simulation, "host2", kept.write(made_at="2026-11-01T00:00:00Z"))
    kept_by(simulation, "host3", kept.write(made_at="2026-11-02T00:00:00Z"))
    status, output = simulation.run("restore")
    assert status == 0, output[-3000:]
    ((_host, given),) = calls(simulation, "state_restore")
    assert given["made_at"] == "2026-11-02T00:00:00Z"
    assert "the copy on host1: is no file that age has encrypted" in plain(output)


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


def test_recover_makes_a_new_ca_where_there_is_no_copy(tmp_path):
    simulation = Simulation(tmp_path, "wif")
    with_copies(simulation)
    simulation.variables["mcp_tunnel_backup_file"] = ""
    status, output = simulation.run("recover")
    assert calls(simulation, "state_restore") == []
    assert "A new CA is made: no replica keeps a copy of the state." in plain(output)
    assert status == 0, output[-3000:]
