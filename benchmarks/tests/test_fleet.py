"""The recorded answers are those that the collection of today takes: a run changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from benchmarks.fleet import runs
from benchmarks.playbook import ROOT

CALLBACKS = ROOT / "benchmarks/callback_plugins"
REPLICAS = "__mcp_tunnel_surviving"
"""The group that stands for all replicas in the runs that breach.yml takes over."""


def test_a_small_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call of a module costs a connection, and each result a process of the controller's."""
    monkeypatch.setenv("RECORDED_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("TASK_CENSUS_FILE", str(tmp_path / "census"))
    monkeypatch.setenv("ANSIBLE_CALLBACKS_ENABLED", "task_census")
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", str(CALLBACKS))
    run = runs.run_site(hosts=3, tunnels=2, away=0)
    assert run.cpu_per_host > 0
    assert 0 < run.system_per_host < run.cpu_per_host
    assert 0 < run.fork_memory < run.main_memory
    hosts = [line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()]
    # On the state hosts: lease taken and given back, CA, and the token that no variable gives.
    assert Counter(hosts) == {"host0000": 11, "host0001": 11, "host0002": 7}
    events = map(json.loads, (tmp_path / "census").read_text().splitlines())
    results = Counter(event["host"] for event in events if "task" in event)
    # The first host also has those that are one for the whole run.
    assert results == {"host0000": 69, "host0001": 57, "host0002": 39}


@pytest.mark.parametrize("name", ["site.yml", "plays/replicas.yml", "plays/verify.yml"])
def test_no_play_takes_variables_from_a_file(name: str) -> None:
    """Ansible reads and parses such a file again for each task of each host."""
    plays = yaml.safe_load((ROOT / "playbooks" / name).read_text())
    assert [play["name"] for play in plays if "vars_files" in play] == []


def test_each_play_that_breach_takes_over_has_the_same_hosts() -> None:
    """They are stated in each of them: in a file of variables, they would cost time."""
    plays = [
        play
        for name in ("site.yml", "plays/verify.yml")
        for play in yaml.safe_load((ROOT / "playbooks" / name).read_text())
    ]
    stated = [play["hosts"] for play in plays if "hosts" in play and "serial" not in play]
    assert len(stated) > 1
    assert len(set(stated)) == 1
    assert REPLICAS in stated[0]


def test_the_hosts_that_are_away_are_of_several_tunnels() -> None:
    inventory = runs.make_inventory(hosts=200, tunnels=8, away=2)
    hosts = inventory["mcp_tunnel"]["hosts"]
    assert len(hosts) == 200
    away = {name: each for name, each in hosts.items() if name.endswith("-away")}
    assert sorted(away) == ["host0008-away", "host0009-away"], "none is the first of its tunnel"
    assert len({each["mcp_tunnel_instance"] for each in away.values()}) == 2
