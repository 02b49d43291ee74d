"""Runs with inventories and settings as operators have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from replicas import HOSTS, LAB, play, recap, unquoted


def test_two_names_of_one_machine_are_refused(tmp_path: Path) -> None:
    """The same machine looks like another one at another address, until it is asked."""
    extra = tmp_path / "inventory.json"
    again = {"ansible_host": LAB["hosts"][0]["address"]}
    extra.write_text(json.dumps({"mcp_tunnel": {"hosts": {"again": again}}}))
    done = play("--inventory", str(extra))
    output = unquoted(done.stdout)
    assert done.returncode != 0, done.stdout
    assert f"'default' is deployed twice on one machine: by {HOSTS[0]} and again" in output
    assert "PLAY [Ship the releases]" not in done.stdout
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values())


@pytest.mark.parametrize("name", [pytest.param(HOSTS[0], marks=pytest.mark.exhaustive), *HOSTS[1:]])
def test_a_run_on_one_replica_leaves_the_others_alone(name: str, caching: dict[str, str]) -> None:
    done = play("--limit", name, settings=caching)
    assert done.returncode == 0, done.stdout[-3000:]
    counters = recap(done.stdout)
    assert list(counters) == [name]
    assert counters[name]["changed"] == 0, done.stdout
