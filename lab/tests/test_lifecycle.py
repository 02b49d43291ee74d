"""The lab ends everything that it starts: in an orderly end, interrupted, or killed."""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path

import pytest

from lab.commands import cli
from lab.core.checkouts import OWN
from lab.core.paths import LabPaths
from lab.tests.support import (
    PATIENCE,
    RunningLab,
    lab,
    lab_command,
    leftovers,
    nothing_is_left,
    wait_until,
)


def keeper(name: str) -> int:
    return int(json.loads(LabPaths(name).keeper.read_text())["pid"])


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def supervisor(name: str) -> int:
    """Keeper -> unshare -> supervisor."""
    return next(
        grandchild
        for child in children(keeper(name))
        for grandchild in children(child)
        if b"lab.supervision.supervisor" in Path(f"/proc/{grandchild}/cmdline").read_bytes()
    )


def commands(parser: argparse.ArgumentParser) -> set[str]:
    """The names of the commands that a parser knows."""
    (names,) = (action.choices for action in parser._actions if action.choices)
    return set(names)


def test_each_command_is_found_without_the_others() -> None:
    every = commands(cli.parser())
    assert every >= {"up", "down", "net", "edge", "call", "api"}
    for command in every:
        alone = commands(cli.parser(command))
        assert command in alone
        assert alone < every, command


def test_down_ends_ssh_connections_and_commands_inside_and_leaves_nothing(name: str) -> None:
    status, output = lab("up", name, "--hosts", "2")
    assert status == 0, output
    there = RunningLab(LabPaths(name))
    there.on("host1", "true")
    assert any("mux" in line for line in leftovers(name))  # the search finds a running lab
    running = lab_command("net", name, "exec", "neighbour", "sleep", "100")
    wait_until(lambda: any("sleep" in line for line in leftovers(name)), "the command is not there")

    status, output = lab("down", name)

    assert (status, output) == (0, f"lab {name}: ended\n")
    assert running.wait(PATIENCE) != 0
    nothing_is_left(name)


def test_second_up_is_refused(two: RunningLab) -> None:
    name = two.paths.name
    status, output = lab("up", name)
    assert status == 1
    assert f"`lab down {name}` ends it" in output
    assert lab("status", name)[0] == 0


def test_labs_do_not_disturb_each_other(name: str, two: RunningLab) -> None:
    """Both labs have the same addresses and host names. A service of one of them ends."""
    assert lab("up", name, "--hosts", "1")[0] == 0
    other = RunningLab(LabPaths(name))
    assert other.on("host1", "cat /etc/machine-id") != two.on("host1", "cat /etc/machine-id")
    other.on("host1", "sudo systemctl stop dbus.service dbus.socket")
    assert two.on("host1", "systemctl is-active dbus") == "active"
    dns = next(line for line in leftovers(name) if "dnsmasq" in line)
    os.kill(int(dns.split()[1].rstrip(":")), signal.SIGKILL)
    wait_until(lambda: lab("status", name)[0] == 1, "not noticed")
    assert "dns          ended with status -9" in lab("status", name)[1]
    assert lab("status", two.paths.name)[0] == 0
    assert lab("down", name)[0] == 0
    assert two.on("host1", "hostname") == "host1"


def test_after_the_keepers_death_the_kernel_ends_the_lab(name: str) -> None:
    assert lab("up", name, "--hosts", "1")[0] == 0

    os.kill(keeper(name), signal.SIGKILL)

    def processes() -> list[str]:
        return [line for line in leftovers(name) if line.startswith("process")]

    wait_until(lambda: not [p for p in processes() if "ssh" not in p], "processes survive")
    status, output = lab("up", name, "--hosts", "1")
    assert status == 0, output
    assert lab("status", name)[0] == 0
    lab("down", name)
    nothing_is_left(name)


def test_keeper_cleans_up_after_a_crashed_supervisor(name: str) -> None:
    assert lab("up", name, "--hosts", "1")[0] == 0
    os.kill(supervisor(name), signal.SIGKILL)
    nothing_is_left(name)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive),  # handled as SIGINT is
    ],
)
def test_interrupted_up_leaves_nothing(name: str, number: signal.Signals) -> None:
    process = lab_command("up", name, "--hosts", "3", start_new_session=True)
    assert process.stdout is not None
    assert "booting 3 hosts" in process.stdout.readline()

    os.killpg(process.pid, number)  # as a terminal does

    assert process.wait(PATIENCE) != 0
    process.stdout.close()
    nothing_is_left(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["up", "With-Caps"], "1 to 8 lower-case letters and digits"),
        (["up", "ninechars"], "1 to 8 lower-case letters and digits"),
        (["up", "bad", "--hosts", "0"], "between 1 and 100"),
        (["up", "bad", "--debian", "10"], "the lab knows 11, 12, 13, 14"),
        (["status", "absent"], "`lab up absent`"),
        (["host", "absent", "list"], "`lab up absent`"),
    ],
)
def test_bad_input_says_what_to_do(arguments: list[str], message: str) -> None:
    status, output = lab(*arguments)
    assert status == 1
    assert message in output
    assert "Traceback" not in output
    assert not (OWN.run_root / f"{arguments[1]}.lock").exists()


def test_unknown_host_is_named(two: RunningLab) -> None:
    status, output = lab("host", two.paths.name, "reboot", "host9")
    assert status == 1
    assert "has no host 'host9': it has host1, host2" in output
