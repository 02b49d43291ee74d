"""Drain, undrain and reboots in waves, with a client that calls a tool 20 times a second.

The tests go on from each other: the last replica is drained, looked at, brought back, and then both
hosts are rebooted.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from deployed import all_the_time, none_failed, stored
from replicas import (
    HOSTS,
    LAB,
    LAB_NAME,
    await_connections,
    killed_after_a_change,
    killed_when,
    lab,
    play,
    recap,
    shell,
    unquoted,
)

STAYS, LEAVES = HOSTS[0], HOSTS[-1]
UNIT = "mcp-cloudflared@default"
MARK = "/etc/mcp-tunnel/default/drained"
NOTE = "/run/mcp-tunnel/connections-default.json"
# Containers of one kernel have one boot ID; the first process of each starts with it.
BOOT = "cat /proc/sys/kernel/random/boot_id; cut --delimiter=' ' --fields=22 /proc/1/stat"
WHY = ("-e", "mcp_tunnel_drain_reason=memory")
_PATIENCE = 240  # seconds, at most; the machine may be busy


def naming(name: str) -> tuple[str, ...]:
    return ("-e", json.dumps({"mcp_tunnel_drain": [name]}), *WHY)


def until(condition: Callable[[], bool], told: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, told
        time.sleep(0.2)


def state(name: str) -> str:
    return str(shell(name).run(f"systemctl is-active {UNIT}").stdout.strip())


def changes(output: str) -> dict[str, int]:
    return {name: counters["changed"] for name, counters in recap(output).items()}


def note(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(shell(name).check_output(f"cat {NOTE}"))
    return found


@contextmanager
def open_stream(name: str) -> Iterator[ssl.SSLSocket]:
    """A client's connection to one host's proxy, on which nothing was asked yet."""
    context = ssl.create_default_context(cadata=stored("ca.crt"))
    front, _, port = LAB["edge_front"].rpartition(":")
    host = f"echo.{stored('tunnel-domain')}"
    lab("edge", LAB_NAME, "pin", name)
    try:
        plain = socket.create_connection((front, int(port)), timeout=_PATIENCE)
        stream = context.wrap_socket(plain, server_hostname=host)
    finally:
        lab("edge", LAB_NAME, "unpin")
    with stream:
        yield stream


def answered(stream: ssl.SSLSocket) -> bytes:
    host = f"echo.{stored('tunnel-domain')}"
    stream.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    received = b""
    while block := stream.recv(65536):
        received += block
    return received


@pytest.mark.exhaustive  # tests/unit/plugins/action/fleets/test_drain.py has it
def test_check_mode_drains_nobody() -> None:
    done = play("--check", *naming(LEAVES), playbook="drain")
    assert done.returncode == 0, done.stdout[-3000:]
    assert changes(done.stdout) == {**dict.fromkeys(HOSTS, 0), LEAVES: 1}
    assert state(LEAVES) == "active"
    assert not shell(LEAVES).file(MARK).exists


def test_a_drain_fails_no_call_and_lets_streams_end() -> None:
    """Killed while cloudflared waits for a stream; the next run completes it."""
    with all_the_time() as calls:
        with open_stream(LEAVES) as stream:
            killed_when(lambda: state(LEAVES) == "deactivating", *naming(LEAVES), playbook="drain")
            assert shell(LEAVES).file(MARK).exists
            assert answered(stream).startswith(b"HTTP/1.1 404 ")
        done = play(*naming(LEAVES), playbook="drain")
    assert done.returncode == 0, done.stdout[-3000:]
    none_failed(calls)
    shown = shell(LEAVES).check_output(
        f"systemctl show --property=ActiveState,Result,ExecMainCode,ExecMainStatus {UNIT}"
    )
    # It has ended by itself (1, exited), and was not cut by a second signal.
    assert set(shown.splitlines()) == {
        "ActiveState=inactive",
        "Result=success",
        "ExecMainCode=1",
        "ExecMainStatus=0",
    }
    address = next(host["address"] for host in LAB["hosts"] if host["name"] == LEAVES)

    def peers() -> set[str]:
        connections = json.loads(lab("edge", LAB_NAME, "status"))["connections"]
        return {entry["peer"] for entry in connections}

    until(lambda: address not in peers(), "the edge still has its connections")
    assert peers()


def test_a_second_drain_changes_nothing() -> None:
    before = shell(LEAVES).check_output(f"cat {MARK}")
    done = play(*naming(LEAVES), playbook="drain")
    assert done.returncode == 0, done.stdout[-3000:]
    assert set(changes(done.stdout).values()) == {0}
    assert shell(LEAVES).check_output(f"cat {MARK}") == before


@pytest.mark.exhaustive  # tests/unit/plugins/action/fleets/test_drain.py has it
def test_the_last_one_that_works_does_not_leave() -> None:
    done = play(*naming(STAYS), playbook="drain")
    assert done.returncode != 0
    assert f"0 of {len(HOSTS)} replicas would be known to work ({LEAVES} is drained)" in unquoted(
        done.stdout
    )
    assert set(changes(done.stdout).values()) == {0}
    assert state(STAYS) == "active"


def test_the_metrics_say_that_it_is_drained() -> None:
    until(lambda: note(LEAVES).get("drained") is True, "the note says nothing of the drain")
    assert note(STAYS)["drained"] is False


def test_its_status_says_it_and_is_healthy() -> None:
    done = shell(LEAVES).run("/usr/local/sbin/mcp-tunnel status --json")
    assert done.rc == 0, done.stdout
    (instance,) = json.loads(done.stdout)["instances"]
    assert instance["edge"]["drained"].endswith(": memory")
    states = {row["object"]: row["state"] for row in instance["layers"]["rows"]}
    assert states[f"{UNIT}.service"] == "drained"


def test_verify_shows_it_and_is_content() -> None:
    done = play(playbook="verify")
    assert done.returncode == 0, done.stdout[-3000:]
    assert set(changes(done.stdout).values()) == {0}
    rows = [line.split() for line in done.stdout.splitlines() if f"{UNIT}.service" in line]
    assert sum("drained" in row for row in rows) == 1, done.stdout[-3000:]
    assert f"{LEAVES}: drained since " in unquoted(done.stdout)


def test_a_reboot_keeps_it_drained() -> None:
    lab("host", LAB_NAME, "reboot", LEAVES)
    proxy = "systemctl is-active mcp-proxy@default"
    until(lambda: shell(LEAVES).run(proxy).rc == 0, "the proxy does not come back")
    target = "systemctl is-active multi-user.target"
    until(lambda: shell(LEAVES).run(target).rc == 0, "the host does not boot")
    assert state(LEAVES) == "inactive"


def test_a_whole_run_keeps_it_drained_and_is_content() -> None:
    shell(LEAVES).check_output(f"systemctl disable --quiet {UNIT}")
    done = play()
    assert done.returncode == 0, done.stdout[-3000:]
    assert changes(done.stdout) == {**dict.fromkeys(HOSTS, 0), LEAVES: 1}, done.stdout[-3000:]
    assert state(LEAVES) == "inactive"
    output = unquoted(done.stdout)
    assert f"{len(HOSTS) - 1} of {len(HOSTS)} replicas work" in output
    assert f"{LEAVES}: drained since " in output
    assert ": memory. undrain.yml brings it back." in output


def test_an_interrupted_end_is_completed_and_a_stopped_replica_stays() -> None:
    with all_the_time() as calls:
        checked = play("--check", playbook="undrain")
        assert checked.returncode == 0, checked.stdout[-3000:]
        assert changes(checked.stdout) == {**dict.fromkeys(HOSTS, 0), LEAVES: 1}
        assert state(LEAVES) == "inactive"
        assert shell(LEAVES).file(MARK).exists
        killed_after_a_change(playbook="undrain", tasks=["End the drain"])
        assert not shell(LEAVES).file(MARK).exists
        shell(LEAVES).check_output(f"systemctl stop {UNIT}")
        done = play(playbook="undrain")
        assert done.returncode == 0, done.stdout[-3000:]
        assert changes(done.stdout) == {**dict.fromkeys(HOSTS, 0), LEAVES: 1}
        await_connections(LEAVES)
        # By now, nobody has drained it.
        shell(LEAVES).check_output(f"systemctl stop {UNIT}")
        again = play(playbook="undrain")
        assert state(LEAVES) == "inactive"
        shell(LEAVES).check_output(f"systemctl start {UNIT}")
    none_failed(calls)
    await_connections(LEAVES)
    assert again.returncode != 0
    assert "Nobody has drained it, so it stays as it is." in unquoted(again.stdout)
    assert set(changes(again.stdout).values()) == {0}
    done = play(playbook="undrain")
    assert done.returncode == 0, done.stdout[-3000:]
    assert set(changes(done.stdout).values()) == {0}


def boot(name: str) -> str:
    """Return what no later boot of the host has; empty while it is not there."""
    try:
        return str(shell(name).run(BOOT).stdout)
    except RuntimeError:  # what testinfra makes of ssh's own failures
        return ""


def killed_once_drained() -> None:
    killed_after_a_change(*WHY, playbook="reboot", tasks=[f"Drain the replica on {STAYS}"])


def killed_in_the_reboot() -> None:
    before = boot(STAYS)
    killed_when(lambda: boot(STAYS) != before, *WHY, playbook="reboot")
    until(lambda: boot(STAYS) not in ("", before), "the host does not boot")
    target = "systemctl is-active multi-user.target"
    until(lambda: shell(STAYS).run(target).rc == 0, "the host does not boot")


@pytest.mark.parametrize(
    "killed",
    [pytest.param(killed_once_drained, marks=pytest.mark.exhaustive), killed_in_the_reboot],
)
def test_reboots_in_waves_fail_no_call_and_complete_an_interrupted_run(
    killed: Callable[[], None],
) -> None:
    before = {name: shell(name).check_output(BOOT) for name in HOSTS}
    with all_the_time() as calls:
        killed()
        assert shell(STAYS).file(MARK).exists
        assert state(STAYS) == "inactive"
        done = play(*WHY, playbook="reboot")
        assert done.returncode == 0, done.stdout[-3000:]
    none_failed(calls)
    for name in HOSTS:
        assert shell(name).check_output(BOOT) != before[name]
        assert not shell(name).file(MARK).exists
        await_connections(name)


@pytest.mark.exhaustive  # tests/unit/plugins/action/fleets/test_drain.py has both
def test_a_reboot_that_is_refused_or_only_checked_reboots_nobody() -> None:
    """An instance of another inventory is on one machine, and the other one is not due."""
    before = {name: shell(name).check_output(BOOT) for name in HOSTS}
    needed = ("-e", "mcp_tunnel_reboot_when=needed")
    other = "/etc/mcp-tunnel/elsewhere"
    shell(LEAVES).check_output(f"mkdir {other} && touch /run/reboot-required")
    try:
        refused = play(*needed, playbook="reboot")
        shell(LEAVES).check_output(f"touch {other}/drained")
        done = play("--check", *needed, playbook="reboot")
    finally:
        shell(LEAVES).check_output(f"rm -r {other} /run/reboot-required")
    assert refused.returncode != 0
    assert f"{LEAVES}: also has instance elsewhere" in unquoted(refused.stdout)
    assert set(changes(refused.stdout).values()) == {0}
    assert done.returncode == 0, done.stdout[-3000:]
    assert changes(done.stdout)[STAYS] == 0
    assert changes(done.stdout)[LEAVES] > 0
    assert {name: shell(name).check_output(BOOT) for name in HOSTS} == before
    assert all(state(name) == "active" for name in HOSTS)
