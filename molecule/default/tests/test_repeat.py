"""A second run, and what a run costs."""

from __future__ import annotations

from replicas import HOSTS, play, recap


def test_a_second_run_changes_nothing() -> None:
    done = play("--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    for name, counters in recap(done.stdout).items():
        assert counters["changed"] == 0, (name, done.stdout)


def test_check_mode_agrees() -> None:
    done = play("--check", "--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    counters = recap(done.stdout)
    assert [counters[name]["changed"] for name in HOSTS] == [0] * len(HOSTS)


def test_few_tasks_a_host() -> None:
    counters = recap(play().stdout)
    assert all(counters[name]["ok"] <= 22 for name in HOSTS), counters
