"""The holder of a lease, and whether that run still exists."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.this_run import (
    has_ended,
    this_run,
)

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def pipe():
    """Both ends of a pipe between processes."""
    ends = FORK.Pipe(duplex=False)
    yield ends
    for end in ends:
        end.close()


def test_a_run_is_that_of_the_parent(pipe):
    """Each task has a process of its own."""
    answer, said = pipe
    task = FORK.Process(target=lambda: said.send((this_run({"awx_job_id": 41}), this_run({}))))
    task.start()
    run, without = answer.recv()
    task.join()
    assert without == {**run, "owner": run["owner"].replace(", job 41", "")}
    assert run["owner"].endswith(f", process {os.getpid()}, job 41")
    assert run["process"].startswith(f"{os.getpid()}:")
    assert not has_ended(run)


def test_a_task_whose_run_was_killed_speaks_for_nobody(pipe):
    """It is a child of process 1 then, which never ends: so would its lease."""
    answer, said = pipe

    def task():
        parent = multiprocessing.parent_process().pid
        while os.getppid() == parent:
            time.sleep(0.01)
        try:
            said.send(this_run({}))
        except TunnelError as error:
            said.send((parent, str(error)))

    def run():
        FORK.Process(target=task).start()
        os._exit(9)

    killed = FORK.Process(target=run)
    killed.start()
    killed.join()
    assert answer.recv() == (
        killed.pid,
        f"This run: its process, {killed.pid}, was killed. Run again.",
    )


def test_a_process_that_is_gone_or_another_has_ended():
    run = this_run({})
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    assert has_ended({**run, "process": f"{ended.pid}:123"})
    pid = run["process"].partition(":")[0]
    assert has_ended({**run, "process": f"{pid}:1"}), "the number belongs to another process now"


def test_of_another_controller_nothing_is_known():
    run = this_run({})
    assert not has_ended({**run, "controller": "0" * 16, "process": "999999999:1"})


def test_a_process_that_is_hidden_has_not_ended(tmp_path, monkeypatch):
    """On a controller that several users share, proc(5) may hide those of others (hidepid)."""
    run = {**this_run({}, tmp_path), "process": "4711:123"}
    found = {"error": PermissionError}

    def kill(pid, signal):
        assert (pid, signal) == (4711, 0)
        raise found["error"]

    monkeypatch.setattr("os.kill", kill)
    assert not has_ended(run, tmp_path)
    found["error"] = ProcessLookupError
    assert has_ended(run, tmp_path)


def test_a_number_that_no_process_has(tmp_path):
    """A state host may say any."""
    assert has_ended({**this_run({}), "process": "9999999999:1"})
