"""Inventories that do not show every replica, and runs that come at the same time."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from replicas import (
    CHECKOUT,
    HOSTS,
    TOGETHER,
    await_connections,
    command_line,
    lab,
    play,
    recap,
    shell,
    unquoted,
)

STATE = "/var/lib/mcp-tunnel/default"
LEASE = "/run/mcp-tunnel-lease/default.json"
CONFIRMED = ("--extra-vars", "mcp_tunnel_teardown_confirmed=true")


def served() -> None:
    """Each replica is connected, and a call is answered."""
    for name in HOSTS:
        await_connections(name)
    assert "done" in lab("call", "default", "echo", "echo", '{"text": "done"}')


def test_the_state_host_knows_the_replicas() -> None:
    content = json.loads(shell(HOSTS[0]).check_output(f"cat {STATE}/replicas.json"))
    assert sorted(content["replicas"]) == sorted(HOSTS)
    assert all(each["confirmed"] for each in content["replicas"].values())
    known = [shell(name).check_output("cat /etc/mcp-tunnel/default/members.json") for name in HOSTS]
    assert {json.loads(text)["state_host"] for text in known} == {HOSTS[0]}


def test_another_order_of_the_group_changes_nothing() -> None:
    """Nor does what test_hostile_host.py has left, after which this is the first whole run."""
    done = play(hosts=HOSTS[::-1])
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values())
    assert not shell(HOSTS[-1]).file(STATE).exists


def test_an_inventory_without_the_state_host_is_refused() -> None:
    done = play(hosts=HOSTS[1:])
    output = unquoted(done.stdout)
    assert done.returncode != 0, done.stdout
    assert f"{HOSTS[1]} remember {HOSTS[0]} as their state host, and the inventory" in output
    assert "PLAY [Ship the releases]" not in done.stdout
    assert not shell(HOSTS[1]).file(STATE).exists
    served()


def test_an_inventory_without_another_replica_names_it() -> None:
    done = play(hosts=HOSTS[:1])
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"{HOSTS[1]} is a replica, as {HOSTS[0]} remembers" in unquoted(done.stdout)
    assert recap(done.stdout)[HOSTS[0]]["changed"] == 0


def test_a_whole_teardown_without_a_replica_is_refused() -> None:
    done = play(*CONFIRMED, playbook="teardown", hosts=HOSTS[:1])
    output = unquoted(done.stdout)
    assert done.returncode != 0, done.stdout
    assert f"has {HOSTS[1]}, which would be cut off" in output
    assert f"set mcp_tunnel_forget: [{HOSTS[1]}] for one run" in output
    served()


def test_a_replica_of_the_inventory_is_not_forgotten() -> None:
    done = play("--extra-vars", json.dumps({"mcp_tunnel_forget": [HOSTS[1]]}))
    assert done.returncode != 0, done.stdout
    assert f"mcp_tunnel_forget: names {HOSTS[1]}, a replica of this inventory" in unquoted(
        done.stdout
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("{", "is no JSON", marks=pytest.mark.exhaustive),
        pytest.param(
            '{"version": 2}', "Run the release that has written it", marks=pytest.mark.exhaustive
        ),
        (
            '{"version": 1, "domain": "other.tunnel.example", "replicas": {}}',
            "is that of tunnel other.tunnel.example",
        ),
    ],
)
def test_a_list_that_is_not_ours_is_refused_and_stays(text: str, problem: str) -> None:
    host = shell(HOSTS[0])
    host.check_output(f"cp -p {STATE}/replicas.json /root/replicas.json")
    try:
        host.check_output(f"printf %s '{text}' > {STATE}/replicas.json")
        done = play()
        assert done.returncode != 0, done.stdout
        assert problem in unquoted(done.stdout)
        assert host.check_output(f"cat {STATE}/replicas.json") == text
        assert all(counters["changed"] == 0 for counters in recap(done.stdout).values())
    finally:
        host.check_output(f"mv /root/replicas.json {STATE}/replicas.json")
    assert not host.file(LEASE).exists, "a refused run leaves no lease"


@contextmanager
def another_run() -> Iterator[subprocess.Popen[str]]:
    """A run that holds the instance."""
    command, environment = command_line("site")
    run = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 600
        while not shell(HOSTS[0]).file(LEASE).exists:
            assert run.poll() is None, run.communicate()[0]
            assert time.monotonic() < deadline
        yield run
    finally:
        run.kill()
        run.wait()


def test_of_two_runs_at_once_one_is_refused() -> None:
    with another_run() as first:
        # It waits while it is looked at, as a slow one would.
        first.send_signal(signal.SIGSTOP)
        second = play()
        first.send_signal(signal.SIGCONT)
        output, _none = first.communicate(timeout=1200)
    assert first.returncode == 0, output[-3000:]
    assert second.returncode != 0, second.stdout
    told = unquoted(second.stdout)
    assert "Instance default: another run is changing it, since 20" in told
    assert f", process {first.pid}. Wait for its end, and run again." in told
    assert all(counters["changed"] == 0 for counters in recap(second.stdout).values())
    assert not shell(HOSTS[0]).file(LEASE).exists


def test_a_killed_run_hinders_nobody() -> None:
    with another_run() as first:
        first.kill()
        first.wait()
    assert shell(HOSTS[0]).file(LEASE).exists
    done = play(*TOGETHER)
    assert done.returncode == 0, done.stdout[-3000:]
    assert not shell(HOSTS[0]).file(LEASE).exists


def test_another_state_host_does_not_get_a_ca_of_its_own() -> None:
    """Not even when it is named: another one has the credentials."""
    before = [
        shell(name).check_output("sha256sum /etc/mcp-tunnel/default/ca.crt") for name in HOSTS
    ]
    done = play("--extra-vars", f"mcp_tunnel_state_host={HOSTS[-1]}")
    assert done.returncode != 0, done.stdout
    assert "PLAY [Ship the releases]" not in done.stdout
    assert "mcp_tunnel_state_host" in done.stdout
    assert [
        shell(name).check_output("sha256sum /etc/mcp-tunnel/default/ca.crt") for name in HOSTS
    ] == before
    assert not shell(HOSTS[-1]).file(STATE).exists
