"""Outside its window, a run changes nothing: it is refused if it would, and else green."""

from __future__ import annotations

import time

import pytest
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
    simulation.settings["ANSIBLE_FORKS"] = "6"
    for number in (1, 2):
        simulation.hosts[f"open{number}"]["mcp_tunnel_window"] = "Mon-Sun 00:00-24:00 UTC"
        simulation.attack(f"open{number}", "file_set", merge={"changed": True})
    # The second replica has something to do; the first has not.
    simulation.attack("due2", "file_set", merge={"changed": True})
    status, output = simulation.run("site")
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
