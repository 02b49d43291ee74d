"""A second run, and what a run costs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from replicas import HOSTS, LAB, play, recap


def test_a_second_run_changes_nothing_in_few_tasks(
    second_run: subprocess.CompletedProcess[str], fact_cache: Path
) -> None:
    """With the facts that a cache has kept, too."""
    done = second_run
    # Each in a file that is named after its host, with a prefix.
    kept = {path.name.rpartition("_")[2] for path in fact_cache.rglob("*") if path.is_file()}
    assert kept == set(HOSTS), kept
    assert done.returncode == 0, done.stdout[-3000:]
    for name, counters in recap(done.stdout).items():
        assert counters["changed"] == 0, (name, done.stdout)
        assert counters["ok"] <= 24, counters


def test_check_mode_agrees() -> None:
    done = play("--check", "--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    counters = recap(done.stdout)
    assert [counters[name]["changed"] for name in HOSTS] == [0] * len(HOSTS)


def test_a_fact_cache_gets_no_secret(
    second_run: subprocess.CompletedProcess[str], fact_cache: Path
) -> None:
    """Neither from the whole run nor from those on one replica, in test_inventories.py."""
    token = Path(LAB["tunnel_token_file"]).read_text().strip()
    kept = [path.read_text() for path in fact_cache.rglob("*") if path.is_file()]
    assert kept
    # The variables, and what follows from them, are no facts.
    assert not [text for text in kept if "mcp_tunnel" in text]
    assert not [text for text in kept if token in text or "PRIVATE KEY-----" in text]
