"""Outside its window, a run changes nothing: it is refused if it would, and else green."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.mcp_tunnels import stack
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
#: In three days, whenever the test runs.
CLOSED = f"{_DAYS[(time.gmtime().tm_wday + 3) % 7]} 10:00-11:00 UTC"


def make_fleet(directory, *tunnels):
    """Tunnels of two replicas each: the first has the credentials."""
    simulation = Simulation(directory)
    files = {"ca.crt": simulated_hosts.CA.strip(), "tunnel-domain": simulated_hosts.DOMAIN}
    contents = simulation.world["contents"] = {}
    simulation.hosts = {}
    for tunnel in tunnels:
        for number in (1, 2):
            name = f"{tunnel}{number}"
            simulation.hosts[name] = {"mcp_tunnel_instance": tunnel, "mcp_tunnel_window": CLOSED}
            state = {f"/var/lib/mcp-tunnel/{tunnel}": files} if number == 1 else {}
            contents[name] = {**state, f"/etc/mcp-tunnel/{tunnel}": {"ca.crt": files["ca.crt"]}}
    return simulation


def modules(simulation, host, in_check_mode):
    """The modules that a host was asked to run in check mode, or without."""
    return [
        call["module"]
        for call in simulation.calls()
        if call["host"] == host
        and bool(call["arguments"].get("_ansible_check_mode")) is in_check_mode
    ]


def test_a_run_over_several_tunnels(tmp_path):
    simulation = make_fleet(tmp_path, "quiet", "due", "open")
    for number in (1, 2):
        simulation.hosts[f"open{number}"]["mcp_tunnel_window"] = "Mon-Sun 00:00-24:00 UTC"
        simulation.attack(f"open{number}", "file_set", merge={"changed": True})
    # The second replica has something to do; the first has not.
    simulation.attack("due2", "file_set", merge={"changed": True})
    status, output = simulation.run("site", "--forks", "6")
    assert status != 0
    told = " ".join(output.split())
    opens = f"and mcp_tunnel_window ({CLOSED}) is closed, and opens on "
    assert f"due2: would be changed, {opens}" in told
    assert "quiet, abcd1234.tunnel.example: done (quiet1, quiet2)" in told
    assert "open, abcd1234.tunnel.example: done (open1, open2)" in told
    assert "due, abcd1234.tunnel.example: stopped at due2: due2: would be changed," in told
    for host in ("quiet1", "quiet2", "due1", "due2"):
        # The lease is no change.
        assert set(modules(simulation, host, False)) <= {"host_check", "state_host"}, host
        assert "file_set" in modules(simulation, host, True)
    assert "file_set" in modules(simulation, "open1", False)
    # Nothing was changed, so nothing is put back.
    assert "restored" not in [call["arguments"].get("state") for call in simulation.calls()]


@pytest.mark.parametrize(
    ("playbook", "arguments", "is_refused"),
    [("reboot", [], True), ("drain", ["-e", '{"mcp_tunnel_drain": ["host2"]}'], False)],
)
def test_other_playbooks(tmp_path, playbook, arguments, is_refused):
    simulation = Simulation(tmp_path)
    simulation.variables["mcp_tunnel_window"] = CLOSED
    status, output = simulation.run(playbook, *arguments)
    assert bool(status) is is_refused, output
    drained = [
        name for name in simulation.hosts if "replica_drain" in modules(simulation, name, False)
    ]
    assert drained == ([] if is_refused else ["host2"])
    assert ("would be changed, and mcp_tunnel_window (" in output) is is_refused


def test_check_mode_warns(tmp_path):
    simulation = Simulation(tmp_path)
    simulation.variables["mcp_tunnel_window"] = CLOSED
    simulation.attack("host2", "file_set", merge={"changed": True})
    status, output = simulation.run("site", "--check")
    assert status == 0, output
    assert f"mcp_tunnel_window ({CLOSED}) is closed, and opens on " in " ".join(output.split())


@pytest.mark.parametrize("is_noted", [pytest.param(True, marks=pytest.mark.exhaustive), False])
def test_the_state_host_notes_nothing(tmp_path, is_noted):
    simulation = Simulation(tmp_path)
    simulation.variables["mcp_tunnel_window"] = CLOSED
    if not is_noted:
        simulation.attack("host1", "state_host", merge={"noted": False})
        simulation.attack("host1", "state_host", arguments={"note": True}, merge={"changed": True})
    status, output = simulation.run()
    assert bool(status) is not is_noted, output
    assert ("host1: would be changed, and mcp_tunnel_window (" in output) is not is_noted
    calls = [call["arguments"] for call in simulation.calls() if call["module"] == "state_host"]
    notes = [bool(each.get("_ansible_check_mode")) for each in calls if each.get("note")]
    assert notes == ([] if is_noted else [True])
    ends = [each for each in calls if each.get("state") == "released"]
    assert len(ends) == 1
    assert not ends[0].get("_ansible_check_mode")
    assert not ends[0].get("confirmed")


SESSION = [{"path": "/run/mcp-tunnel-provision/default", "state": "absent"}]


@pytest.mark.parametrize("arguments", [[], pytest.param(["--check"], marks=pytest.mark.exhaustive)])
def test_the_access_token_is_forgotten(tmp_path, arguments):
    simulation = Simulation(tmp_path, "wif")
    simulation.variables["mcp_tunnel_window"] = CLOSED
    session = {"entries": SESSION}
    simulation.attack("host1", "file_set", arguments=session, merge={"changed": True})
    status, output = simulation.run("site", *arguments)
    assert status == 0, output
    removed = [
        bool(call["arguments"].get("_ansible_check_mode"))
        for call in simulation.calls()
        if call["module"] == "file_set" and call["arguments"].get("entries") == SESSION
    ]
    assert removed == [False]


def tasks_in(found):
    """All tasks in what a YAML file has."""
    if isinstance(found, list):
        for each in found:
            yield from tasks_in(each)
    elif isinstance(found, dict):
        yield found
        for name in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks"):
            yield from tasks_in(found.get(name))


def test_tasks_that_check_mode_does_not_hold_back_go_on():
    """Else they would be refused in each run outside the window, also in check mode."""
    root = Path(stack.__path__[0])
    files = [*root.glob("roles/*/tasks/**/*.yml"), *root.glob("playbooks/**/*.yml")]
    tasks = [task for path in files for task in tasks_in(yaml.safe_load(path.read_text()))]
    always = [task for task in tasks if task.get("check_mode") is False]
    assert len(always) >= 3
    # The report of drift.yml is no change, and its module writes it in check mode, too.
    others = [task for task in always if "mcp_tunnels.stack.drift" not in task]
    assert all(task.get("vars", {}).get("__mcp_tunnel_keeps_books") is True for task in others)
