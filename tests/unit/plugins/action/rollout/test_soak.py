"""A canary serves for a while beside the others before it counts as good."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.action import soak
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

#: Requests in the time between, answered and failed.
HEALTHY, BAD, BUSY = [300, 0], [300, 15], [290, 0]
#: A tunnel, which has the replicas 1 and 2, to the calls of the first one that run, watch, prove
#: and put back; and of the second.
LOOKS = ["replica_traffic", "replica_traffic"]
ENDS = {
    "well": (["replica", *LOOKS, "good"], [*LOOKS, "replica", "good"]),
    "worse": (["replica", *LOOKS, "restored"], LOOKS),
    "same": (["replica"], ["replica"]),
    "away": (["replica"], ["replica", *LOOKS, "good"]),
    "asleep": (["replica"], ["replica"]),
    "mute": (["replica", *LOOKS, "restored"], LOOKS),
    "named": ([*LOOKS, "replica", "good"], ["replica", *LOOKS, "good"]),
    "gone": (["replica", *LOOKS, "good"], []),
    "off": (["replica", "good"], ["replica", "good"]),
}


def counts(answered, failed, started=1):
    """Return the counts of a proxy with one route."""
    route = {"route": "echo", "answered": answered, "failed": failed, "first_bytes": []}
    return {"started": started, "handshakes": 0, "handshake_failures": 0, "routes": [route]}


def make_fleet(directory):
    """Two replicas of each tunnel; the first one has the credentials."""
    simulation = Simulation(directory)
    simulation.variables["mcp_tunnel_soak"] = "1"
    files = {"ca.crt": simulated_hosts.CA.strip(), "tunnel-domain": simulated_hosts.DOMAIN}
    contents = simulation.world["contents"] = {}
    simulation.hosts, traffic = {}, simulation.world.setdefault("traffic", {})
    for tunnel in ENDS:
        for number in (1, 2):
            name = f"{tunnel}{number}"
            simulation.hosts[name] = {"mcp_tunnel_instance": tunnel}
            traffic[name] = HEALTHY if number == 1 else BUSY
            state = {f"/var/lib/mcp-tunnel/{tunnel}": files} if number == 1 else {}
            contents[name] = {**state, f"/etc/mcp-tunnel/{tunnel}": {"ca.crt": files["ca.crt"]}}
    return simulation


def states(simulation, host):
    """The calls that run, prove or put back the services of a host, and those that watch it."""
    return [
        call["arguments"].get("state", call["module"])
        for call in simulation.calls()
        if call["host"] == host and call["module"] in ("replica", "replica_traffic")
    ]


def test_canaries_go_first_and_stop_their_tunnel_only(tmp_path):
    """One run over tunnels that end in different ways."""
    simulation = make_fleet(tmp_path)
    for number in (1, 2):
        simulation.hosts[f"named{number}"]["mcp_tunnel_canary"] = ["named2"]
        simulation.hosts[f"gone{number}"]["mcp_tunnel_canary"] = "[gone2]"
        simulation.hosts[f"off{number}"]["mcp_tunnel_soak"] = ""
        for module in ("replica", "firewall"):
            simulation.attack(f"same{number}", module, merge={"proven": True})
    simulation.attack("gone2", unreachable=True)
    simulation.world["traffic"]["worse1"] = BAD
    simulation.world["drained"] = ["away1", "asleep1", "asleep2"]
    lie = {"failed": True, "msg": "No."}
    simulation.attack("mute1", "replica_traffic", merge=lie)
    status, output = simulation.run("site", "--forks", "8")
    assert status != 0
    for tunnel, (first, second) in ENDS.items():
        assert states(simulation, f"{tunnel}1") == first, tunnel
        assert states(simulation, f"{tunnel}2") == second, tunnel
    told = " ".join(output.split())
    assert "well1, the canary, does as well: 300 requests here, 290 requests" not in told
    for text in (
        "well1, the canary, does as well: 300 requests here, 290 at well2.",
        "requests answered with 5xx: 15 of 300 (5.0%) here, 0 of 290 (0.0%) at worse2",
        "Its proxy did not say what it has counted.",
        "away2, the canary, not enough traffic to judge: 290 requests here, 0 before the change.",
        "Instance asleep: all replicas of this run are drained, so no canary is watched.",
        "gone1, the canary, not enough traffic to judge: 300 requests here, 0 before the change.",
        "stopped at worse1: requests answered with 5xx: 15 of 300 (5.0%) here",
        "The replica was put back to its last good release and configuration.",
    ):
        assert text in told, text


def test_check_mode_says_who_would_be_watched(tmp_path):
    simulation = Simulation(tmp_path)
    simulation.variables |= {"mcp_tunnel_canary": ["host2"], "mcp_tunnel_soak": 600}
    simulation.attack("host2", "replica", merge={"changed": True})
    status, output = simulation.run("site", "--check")
    assert status == 0, output
    told = "host2 is a canary: after the gate, it would serve for 600 seconds beside the other"
    assert told in output
    assert states(simulation, "host2") == ["replica"]


def test_a_name_that_is_no_replica_is_refused(tmp_path):
    simulation = Simulation(tmp_path)
    simulation.variables["mcp_tunnel_canary"] = ["host9"]
    status, output = simulation.run()
    assert status != 0
    assert "mcp_tunnel_canary: names 'host9', which is no replica of this tunnel." in output
    assert simulation.calls() == []


def looks(**hosts):
    """Return two looks at each host: the counts of the first, and of the second."""
    pairs = {name: pair if len(pair) == 3 else (*pair, {}) for name, pair in hosts.items()}
    return [
        {
            name: {"at": 1.0, "traffic": pair[number], "before": pair[2]}
            for name, pair in pairs.items()
        }
        for number in (0, 1)
    ]


BEFORE = counts(5000, 0)


@pytest.mark.parametrize(
    ("hosts", "told"),
    [
        # A single replica, and its own time before.
        ({"r1": (counts(0, 0), counts(300, 0), BEFORE)}, ""),
        ({"r1": (counts(0, 0), counts(300, 15), BEFORE)}, "0 of 5000 (0.0%) before the change"),
        # Beside one that was restarted, which is no measure.
        (
            {
                "r1": (counts(0, 0), counts(300, 15), BEFORE),
                "r2": (counts(0, 0), counts(300, 0, started=2)),
            },
            "0 of 5000 (0.0%) before the change",
        ),
        ({"r1": (counts(9, 0), counts(300, 0, started=2), BEFORE)}, "was restarted meanwhile"),
        # Others count for more than the time before.
        (
            {
                "r1": (counts(0, 0), counts(300, 150), BEFORE),
                "r2": (counts(0, 0), counts(300, 151)),
            },
            "",
        ),
        # One of two that says it answers everything does not decide.
        (
            {
                "r1": (counts(0, 0), counts(10**6, 3)),
                "r2": (counts(0, 0), counts(10**9, 0)),
                "r3": (counts(0, 0), counts(10**6, 3)),
            },
            "",
        ),
    ],
)
def test_whom_it_is_compared_with(hosts, told):
    result = soak._judged("r1", *looks(**hosts))
    if told:
        assert result["failed"]
        assert told in result["problems"][0]
    else:
        assert result["judged"]
        assert not result.get("failed")


def test_little_traffic_is_a_warning():
    result = soak._judged("r1", *looks(r1=(counts(0, 0), counts(300, 15))))
    assert not result["judged"]
    assert result["warnings"][0].startswith("r1, the canary, not enough traffic to judge: 300")
