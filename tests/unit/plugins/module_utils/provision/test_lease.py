"""One run at a time: the lease of an instance."""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import replace

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.lease import Lease, Run

ONE = Run(id="1" * 16, owner="root on a, process 1", controller="a" * 16, process="1:1")
TWO = Run(id="2" * 16, owner="root on b, process 2", controller="b" * 16, process="2:2")
SINCE = "2026-11-28T12:00:00Z"


def lease(directory, now=1000.0):
    return Lease("default", directory / "leases", now)


def test_the_second_run_learns_who_holds_it(tmp_path):
    assert lease(tmp_path).take(ONE, 900, "", SINCE) == {}
    held = lease(tmp_path, 1100).take(TWO, 900, "", "2026-11-28T12:01:40Z")
    assert held == {**vars(ONE), "since": SINCE, "seconds": 800}


def test_a_run_takes_its_own_for_longer(tmp_path):
    lease(tmp_path).take(ONE, 900, "", SINCE)
    assert lease(tmp_path, 1800).take(ONE, 900, "", "later") == {}
    assert lease(tmp_path, 2600).holder() == {**vars(ONE), "since": SINCE, "seconds": 100}


def test_it_ends_by_itself(tmp_path):
    lease(tmp_path).take(ONE, 900, "", SINCE)
    assert lease(tmp_path, 1900).take(TWO, 900, "", SINCE) == {}
    assert lease(tmp_path, 1900).take(ONE, 900, "", SINCE)["id"] == TWO.id


def test_it_is_taken_over_from_the_run_that_is_named_only(tmp_path):
    lease(tmp_path).take(ONE, 900, "", SINCE)
    assert lease(tmp_path).take(TWO, 900, "3" * 16, SINCE)["id"] == ONE.id
    assert lease(tmp_path).take(TWO, 900, ONE.id, SINCE) == {}


def test_it_is_given_back_by_its_holder_only(tmp_path):
    lease(tmp_path).release(ONE)
    lease(tmp_path).take(ONE, 900, "", SINCE)
    lease(tmp_path).release(TWO)
    assert lease(tmp_path).holder()["id"] == ONE.id
    lease(tmp_path).release(ONE)
    assert lease(tmp_path).holder() == {}
    assert not (tmp_path / "leases").exists()


def kept(**changes):
    """The text of a lease, with other values."""
    return json.dumps({"run": vars(ONE), "until": 2000.0, "since": SINCE, **changes})


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "[]", "{}", "[" * 100_000, "\udcff"),
        kept(run={}),
        kept(run={**vars(ONE), "process": 1}),
        kept(until="soon"),
        # Python's JSON has these two.
        kept(until=float("inf")),
        kept(until=float("nan")),
    ],
)
def test_an_unreadable_one_is_nobodys(tmp_path, text):
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases/default.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert lease(tmp_path).take(TWO, 900, "", SINCE) == {}


def test_one_that_can_be_read_is_somebodys(tmp_path):
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases/default.json").write_text(kept())
    assert lease(tmp_path).take(TWO, 900, "", SINCE)["id"] == ONE.id


def _try(directory, number, results):
    run = replace(ONE, id=f"{number:016x}")
    results.put(not lease(directory).take(run, 900, "", SINCE))


def test_of_many_at_once_one_gets_it(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    runs = [context.Process(target=_try, args=(tmp_path, n, results)) for n in range(12)]
    for run in runs:
        run.start()
    got = [results.get(timeout=600) for _run in runs]
    for run in runs:
        run.join()
    assert sorted(got) == [False] * 11 + [True]


def _take_turns(directory, number, inside, results):
    run = replace(ONE, id=f"{number:016x}")
    for _turn in range(20):
        while lease(directory).take(run, 900, "", SINCE):
            pass
        with inside.get_lock():
            inside.value += 1
            results.put(inside.value)
        with inside.get_lock():
            inside.value -= 1
        lease(directory).release(run)


def test_of_many_in_turn_each_is_alone(tmp_path):
    """The directory is removed and made again all the time."""
    context = multiprocessing.get_context("fork")
    results, inside = context.Queue(), context.Value("i", 0)
    runs = [
        context.Process(target=_take_turns, args=(tmp_path, n, inside, results)) for n in range(4)
    ]
    for run in runs:
        run.start()
    together = [results.get(timeout=600) for _turn in range(80)]
    for run in runs:
        run.join()
    assert set(together) == {1}


def test_a_directory_that_is_removed_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    """By a run that ends: it removes the directory when nothing is held."""
    mkdir, made = os.mkdir, []

    def mkdir_and_lose(path, *arguments):
        mkdir(path, *arguments)
        made.append(path)
        if len(made) == 1:
            os.rmdir(path)

    monkeypatch.setattr(os, "mkdir", mkdir_and_lose)
    assert lease(tmp_path).take(ONE, 900, "", SINCE) == {}
    assert len(made) == 2


def test_the_time_is_that_since_the_boot(tmp_path):
    """A clock that is set to another time changes nothing."""
    own = Lease("default", tmp_path / "leases")
    own.take(ONE, 900, "", "1970-01-01T00:00:00Z")
    assert 600 <= Lease("default", tmp_path / "leases").holder()["seconds"] <= 900
