"""A second run, and the cost of a run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from replicas import HOSTS, LAB, play, recap


def test_a_second_run_changes_nothing_in_few_tasks(
    second_run: subprocess.CompletedProcess[str], fact_cache: Path
) -> None:
    """A run with facts that a cache has kept changes nothing, either."""
    done = second_run
    # Each host's facts are in a file that is named after it, with a prefix.
    kept = {path.name.rpartition("_")[2] for path in fact_cache.rglob("*") if path.is_file()}
    assert kept == set(HOSTS), kept
    assert done.returncode == 0, done.stdout[-3000:]
    for name, counters in recap(done.stdout).items():
        assert counters["changed"] == 0, (name, done.stdout)
        # The first of them is the state host, and takes the steps of the whole run. Each wave has
        # a step that looks at all hosts for all.
        assert counters["ok"] <= (30 if name == HOSTS[0] else 14), counters


@pytest.mark.exhaustive  # up/test_drift.py: it finds nothing on the replica that nobody has changed
def test_check_mode_agrees() -> None:
    done = play("--check", "--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    counters = recap(done.stdout)
    assert [counters[name]["changed"] for name in HOSTS] == [0] * len(HOSTS)


def test_a_fact_cache_gets_no_secret(
    second_run: subprocess.CompletedProcess[str], fact_cache: Path
) -> None:
    """Neither the whole run nor the runs on one replica (test_inventories.py) put one there."""
    token = Path(LAB["tunnel_token_file"]).read_text().strip()
    kept = [path.read_text() for path in fact_cache.rglob("*") if path.is_file()]
    assert kept
    # The variables, and values derived from them, are no facts.
    assert not [text for text in kept if "mcp_tunnel" in text]
    assert not [text for text in kept if token in text or "PRIVATE KEY-----" in text]
