"""Runs of a server are those of ansible-playbook, and nothing of one is in the next."""

from __future__ import annotations

import os
import re

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.runs import client
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

DEBUG = "ansible.builtin.debug"


@pytest.fixture
def simulation(tmp_path, monkeypatch):
    """One replica, whose runs are the first in their environment."""
    monkeypatch.setenv("OF_THIS_TEST", str(tmp_path))
    made = Simulation(tmp_path)
    made.hosts = {"host1": {}}
    return made


@pytest.fixture
def served(simulation):
    """The simulation, when its next run is a server's."""
    status, output = simulation.run_tasks([{DEBUG: {"msg": "by itself"}}])
    assert status == 0, output
    return simulation


def server():
    """The server that was started last."""
    return list(client._servers.values())[-1]


def test_a_run_of_a_server_is_one_of_ansible(simulation):
    """The first run is none of a server, the others are."""
    seen = []
    for _ in range(3):
        status, output = simulation.run("verify", "--diff")
        assert status == 0, output[-3000:]
        # With the process that holds the lease, and a path.
        output = re.sub(r"(?<=process )[0-9:]+|/tmp/\S+|(?<=\"at\": )[0-9.]+", "", output)
        calls = [(call["module"], call["arguments"].keys()) for call in simulation.calls()]
        seen.append((output, calls[sum(len(before) for _output, before in seen) :]))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][1]
    assert server()


def test_a_run_leaves_nothing_to_the_next(served):
    """Neither variables and facts, nor its environment, nor files."""
    tasks = [
        {DEBUG: {"msg": "This is {{ of_a_run | default('nobody') }}"}},
        {"ansible.builtin.set_fact": {"of_a_run": "somebody"}},
    ]
    for name in ("somebody", "", ""):
        given = ["-e", f"of_a_run={name}"] if name else []
        play = served.directory / "play.yml"
        served.run_tasks(tasks)
        status, output = served.run(str(play), *given)
        assert status == 0, output
        assert f"This is {name or 'nobody'}" in output
    assert os.listdir(served.directory / "tmp") == []
    places = "{{ lookup('env', 'SIMULATED_HOSTS') }} {{ lookup('pipe', 'pwd') }}"
    other = Simulation(_made(served.directory / "other"))
    other.hosts = served.hosts
    status, output = other.run_tasks([{DEBUG: {"msg": places}}])
    assert f'{other.directory}/world.json {other.directory}"' in output


def _made(directory):
    directory.mkdir()
    return directory


def test_other_settings_are_for_another_process(served):
    shown = {DEBUG: {"msg": "{{ lookup('config', 'DEFAULT_TIMEOUT') }} seconds"}}
    assert "10 seconds" in served.run_tasks([shown])[1]
    served.settings["ANSIBLE_TIMEOUT"] = "11"
    for _ in range(2):
        assert "11 seconds" in served.run_tasks([shown])[1]
    del served.settings["ANSIBLE_TIMEOUT"]
    assert "10 seconds" in served.run_tasks([shown])[1]


def test_a_run_that_fails_or_is_killed_says_so(served):
    status, output = served.run_tasks([{"ansible.builtin.fail": {"msg": "for a reason"}}])
    assert status == 2
    assert "for a reason" in output
    # The process that runs a task is a child of the one that runs the playbook.
    kill = "kill -9 $(cut -d ' ' -f 4 /proc/$PPID/stat)"
    status, output = served.run_tasks([{DEBUG: {"msg": f"{{{{ lookup('pipe', \"{kill}\") }}}}"}}])
    assert status == -9
    status, output = served.run_tasks([{DEBUG: {"msg": "again"}}])
    assert status == 0, output


def test_a_server_ends_with_its_client(served):
    served.run_tasks([{DEBUG: {"msg": "by the server"}}])
    started = server()
    started._control.close()
    assert started._process.wait(60) == 0
