"""Runs as operators' inventories and settings make them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from replicas import HOSTS, LAB, play, recap, unquoted


def test_two_names_of_one_machine_are_refused(tmp_path: Path) -> None:
    """By its address a machine looks like another one, until it is asked."""
    extra = tmp_path / "inventory.json"
    again = {"ansible_host": LAB["hosts"][0]["address"]}
    extra.write_text(json.dumps({"mcp_tunnel": {"hosts": {"again": again}}}))
    done = play("--inventory", str(extra))
    output = unquoted(done.stdout)
    assert done.returncode != 0, done.stdout
    assert f"'default' is deployed twice on one machine: by {HOSTS[0]} and again" in output
    assert "PLAY [Ship the releases]" not in done.stdout
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values())


@pytest.mark.parametrize("name", HOSTS)
def test_a_run_on_one_replica_leaves_the_others_alone(name: str, caching: dict[str, str]) -> None:
    done = play("--limit", name, settings=caching)
    assert done.returncode == 0, done.stdout[-3000:]
    counters = recap(done.stdout)
    assert list(counters) == [name]
    assert counters[name]["changed"] == 0


def test_a_fact_cache_gets_no_secret(fact_cache: Path) -> None:
    """In the runs on one replica. That it changes nothing: see test_repeat.py."""
    token = Path(LAB["tunnel_token_file"]).read_text().strip()
    kept = [path.read_text() for path in fact_cache.rglob("*") if path.is_file()]
    assert kept
    # The variables, and what follows from them, are no facts.
    assert not [text for text in kept if "mcp_tunnel" in text]
    assert not [text for text in kept if token in text or "PRIVATE KEY-----" in text]
