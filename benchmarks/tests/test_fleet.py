"""The recorded answers are those that the collection of today takes: a run changes nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from benchmarks.fleet import runs
from benchmarks.playbook import ROOT


def test_a_small_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call of a module costs a connection and most of the controller's time for a host."""
    monkeypatch.setenv("RECORDED_CALLS", str(tmp_path / "calls"))
    run = runs.run_site(hosts=3, tunnels=2, away=0)
    assert run.cpu_per_host > 0
    assert 0 < run.system_per_host < run.cpu_per_host
    assert 0 < run.fork_memory < run.main_memory
    hosts = [line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()]
    # On the state hosts: lease taken and given back, CA, and the token that no variable gives.
    assert Counter(hosts) == {"host0000": 11, "host0001": 11, "host0002": 7}


@pytest.mark.parametrize("name", ["site.yml", "plays/replicas.yml", "plays/verify.yml"])
def test_no_play_takes_variables_from_a_file(name: str) -> None:
    """Ansible reads and parses such a file again for each task of each host."""
    plays = yaml.safe_load((ROOT / "playbooks" / name).read_text())
    assert [play["name"] for play in plays if "vars_files" in play] == []


def test_the_hosts_that_are_away_are_of_several_tunnels() -> None:
    inventory = runs.make_inventory(hosts=200, tunnels=8, away=2)
    hosts = inventory["mcp_tunnel"]["hosts"]
    assert len(hosts) == 200
    away = {name: each for name, each in hosts.items() if name.endswith("-away")}
    assert sorted(away) == ["host0008-away", "host0009-away"], "none is the first of its tunnel"
    assert len({each["mcp_tunnel_instance"] for each in away.values()}) == 2
