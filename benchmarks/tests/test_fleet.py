"""The recorded answers are those that the collection of today takes: a run changes nothing."""

from __future__ import annotations

from benchmarks.fleet import runs


def test_a_small_fleet() -> None:
    run = runs.run_site(hosts=2, tunnels=2, away=0)
    assert run.cpu_per_host > 0
    assert run.fork_memory > 0


def test_the_hosts_that_are_away_are_of_several_tunnels() -> None:
    inventory = runs.make_inventory(hosts=200, tunnels=8, away=2)
    hosts = inventory["mcp_tunnel"]["hosts"]
    assert len(hosts) == 200
    away = {name: each for name, each in hosts.items() if name.endswith("-away")}
    assert sorted(away) == ["host0008-away", "host0009-away"], "none is the first of its tunnel"
    assert len({each["mcp_tunnel_instance"] for each in away.values()}) == 2
