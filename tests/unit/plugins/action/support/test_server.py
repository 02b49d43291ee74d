"""Runs of a server are those of ansible-playbook, and nothing of one is in the next."""

from __future__ import annotations

import os
import re

import pytest
import yaml
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.runs import client
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

DEBUG = "ansible.builtin.debug"


@pytest.fixture
def simulation(tmp_path, monkeypatch):
    """One replica, whose runs have a server of their own."""
    monkeypatch.setenv("OF_THIS_TEST", str(tmp_path))
    made = Simulation(tmp_path)
    made.hosts = {"host1": {}}
    return made


def server():
    """The server that was started last."""
    return list(client._servers.values())[-1]


def test_a_run_of_a_server_is_one_of_ansible(simulation):
    """The first one is none of a server: it has a process, and so has each of its tasks."""
    seen = []
    for run in (client.run_alone, client.run, client.run):
        done = run(*simulation._prepare("verify", ("--diff",)))
        output = done.stdout + done.stderr
        assert done.returncode == 0, output[-3000:]
        # With the process that holds the lease, and a path.
        output = re.sub(r"(?<=process )[0-9:]+|/tmp/\S+|(?<=\"at\": )[0-9.]+", "", output)
        calls = [(call["module"], call["arguments"].keys()) for call in simulation.calls()]
        seen.append((output, calls[sum(len(before) for _output, before in seen) :]))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][1]
    assert server()


def test_tasks_say_the_same_without_processes(simulation):
    """What is done, skipped, repeated, and what fails; nobody changes what others have."""
    simulation.hosts = {"host1": {"own": {"of": ["host1"]}}}
    asked = {"mcp_tunnels.stack.host_check": {"users": ["mcp-proxy"]}}
    tasks = [
        {"name": "Look at {{ own.of[0] }}", **asked, "register": "found"},
        {DEBUG: {"var": "found"}},
        {DEBUG: {"msg": "{{ item }} {{ own.of }}"}, "loop": ["a", "b"], "when": "item != 'b'"},
        {"ansible.builtin.set_fact": {"own": "{{ own | combine({'of': own.of + ['me']}) }}"}},
        {"ansible.builtin.assert": {"that": "own.of | length == 2", "quiet": True}},
        {DEBUG: {"msg": "{{ nobody }}"}, "ignore_errors": True, "register": "failed"},
        {DEBUG: {"msg": "{{ lookup('pipe', 'exit 1', errors='warn') is none }}"}},
        {DEBUG: {"msg": "never"}, "when": "failed is not failed", "vars": {"own": "mine"}},
        {DEBUG: {"var": "own"}, "retries": 2, "until": "own.of | length == 2", "delay": 0},
        {"block": [{"ansible.builtin.fail": {"msg": "No."}}], "rescue": [{DEBUG: {"msg": "Yes."}}]},
        {**asked, "delegate_to": "host1", "run_once": True, "no_log": True},
    ]
    play = simulation.directory / "play.yml"
    about = {"hosts": "mcp_tunnel", "gather_facts": False, "tasks": tasks}
    play.write_text(yaml.safe_dump([about]))
    alone, served = (
        run(*simulation._prepare(str(play), ("--diff",))) for run in (client.run_alone, client.run)
    )
    assert alone.returncode == 0, alone.stdout
    assert served.stdout == alone.stdout
    assert served.stderr == alone.stderr


def test_a_run_leaves_nothing_to_the_next(simulation):
    """Neither variables and facts, nor its environment, nor files."""
    tasks = [
        {DEBUG: {"msg": "This is {{ of_a_run | default('nobody') }}"}},
        {"ansible.builtin.set_fact": {"of_a_run": "somebody"}},
    ]
    for name in ("somebody", "", ""):
        given = ["-e", f"of_a_run={name}"] if name else []
        play = simulation.directory / "play.yml"
        simulation.run_tasks(tasks)
        status, output = simulation.run(str(play), *given)
        assert status == 0, output
        assert f"This is {name or 'nobody'}" in output
    assert os.listdir(simulation.directory / "tmp") == []
    places = "{{ lookup('env', 'SIMULATED_HOSTS') }} {{ lookup('pipe', 'pwd') }}"
    other = Simulation(_made(simulation.directory / "other"))
    other.hosts = simulation.hosts
    status, output = other.run_tasks([{DEBUG: {"msg": places}}])
    assert f'{other.directory}/world.json {other.directory}"' in output


def _made(directory):
    directory.mkdir()
    return directory


def test_other_settings_are_for_another_process(simulation):
    shown = {DEBUG: {"msg": "{{ lookup('config', 'DEFAULT_TIMEOUT') }} seconds"}}
    assert "10 seconds" in simulation.run_tasks([shown])[1]
    simulation.settings["ANSIBLE_TIMEOUT"] = "11"
    for _ in range(2):
        assert "11 seconds" in simulation.run_tasks([shown])[1]
    del simulation.settings["ANSIBLE_TIMEOUT"]
    assert "10 seconds" in simulation.run_tasks([shown])[1]


def test_a_run_that_fails_or_is_killed_says_so(simulation):
    status, output = simulation.run_tasks([{"ansible.builtin.fail": {"msg": "for a reason"}}])
    assert status == 2
    assert "for a reason" in output
    # The run is the only child of its server.
    number = server()._process.pid
    kill = f"kill -9 $(cat /proc/{number}/task/{number}/children)"
    killing = {DEBUG: {"msg": f"{{{{ lookup('pipe', \"{kill}\") }}}}"}}
    status, output = simulation.run_tasks([killing])
    assert status == -9
    status, output = simulation.run_tasks([{DEBUG: {"msg": "again"}}])
    assert status == 0, output


def test_a_server_ends_with_its_client(simulation):
    simulation.run_tasks([{DEBUG: {"msg": "by the server"}}])
    started = server()
    started._control.close()
    assert started._process.wait(60) == 0
