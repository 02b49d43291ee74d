"""A lab that ends unexpectedly keeps its logs, and anyone who asks for it learns where."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.core.checkouts import ROOT
from lab.core.paths import LabPaths
from lab.supervision import facts, kept
from lab.tests.support import lab, nothing_is_left, wait_until

Kill = Callable[[LabPaths], None]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own for the logs; the root file systems are the shared ones."""
    cache = tmp_path / "cache/mcp-tunnel-lab"
    cache.mkdir(parents=True)
    from lab.core.paths import cache_root

    (cache / "rootfs").symlink_to(cache_root() / "rootfs")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))


def kill_supervisor(paths: LabPaths) -> None:
    os.kill(facts.read(paths)["supervisor"], signal.SIGKILL)


def kill_keeper(paths: LabPaths) -> None:
    os.kill(json.loads(paths.keeper.read_text())["pid"], signal.SIGKILL)


def kills(first: Kill, other: Kill) -> pytest.MarkDecorator:
    """Both kinds of death; only make test-all runs the other one, as another test has it."""
    again = pytest.param(other, marks=pytest.mark.exhaustive)
    return pytest.mark.parametrize("kill", [first, again])


def kept_logs(said: str) -> Path:
    """The directory that a message names."""
    return Path(said.partition("its logs are in ")[2].split(";")[0].split(",")[0].split()[0])


@kills(kill_keeper, kill_supervisor)
def test_the_logs_stay_and_every_command_says_where(name: str, kill: Kill) -> None:
    paths = LabPaths(name)
    assert lab("up", name, "--hosts", "1")[0] == 0
    (paths.logs / "host1.log").open("a").write("the last words\n")

    kill(paths)
    wait_until(lambda: facts.gone(paths), "the lab lives on")

    for command in (
        ("status", name),
        ("call", name, "echo", "echo"),
        ("host", name, "reboot", "host1"),
        ("net", name, "exec", "bridge", "true"),
        ("edge", name, "status"),
        ("api", name, "status"),
    ):
        status, output = lab(*command)
        assert status == 1
        assert f"lab {name} ended unexpectedly" in output
        assert "Traceback" not in output
    assert "the last words" in (kept_logs(output) / "host1.log").read_text()
    assert f"{name:8} ended unexpectedly" in lab("list")[1]

    status, output = lab("down", name)

    assert status == 0
    assert f"before that, lab {name} ended unexpectedly" in output
    assert "the last words" in (kept_logs(output) / "host1.log").read_text()
    assert (kept_logs(output) / "reason.txt").exists()
    nothing_is_left(name)
    assert lab("status", name)[1] == f"lab: lab {name} is not up; `lab up {name}` makes it\n"


@kills(kill_supervisor, kill_keeper)
def test_another_lab_of_the_name_keeps_the_first_ones_logs(name: str, kill: Kill) -> None:
    paths = LabPaths(name)
    assert lab("up", name, "--hosts", "1")[0] == 0
    (paths.logs / "host1.log").open("a").write("of the first\n")
    kill(paths)
    wait_until(lambda: facts.gone(paths), "the lab lives on")
    wait_until(lambda: lab("up", name, "--hosts", "1")[0] == 0, "does not come up", 600)
    assert lab("status", name)[0] == 0
    # Those of the second one are not kept: its end is asked for.
    assert lab("down", name) == (0, f"lab {name}: ended\n")
    logs = list(Path(os.environ["XDG_CACHE_HOME"]).glob("mcp-tunnel-lab/logs/*/host1.log"))
    assert ["of the first" in log.read_text() for log in logs] == [True]


def test_a_lab_that_does_not_come_up_says_where_its_logs_are(
    name: str, fake_tools: Callable[[str, str], None]
) -> None:
    fake_tools("dnsmasq", "echo no; exit 3")
    status, output = lab("up", name, "--hosts", "1")
    assert status == 1
    assert "service dns ended with status 3" in output
    logs = Path(output.partition("all logs are in ")[2].strip())
    assert (logs / "dns.log").read_text() == "no\n"
    nothing_is_left(name)


def test_so_many_are_kept_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_KEPT", 2)
    names = ["crasha", "crashb", "crashc"]
    for name in names:
        paths = LabPaths(name)
        paths.logs.mkdir(parents=True)
        try:
            kept.keep(paths, "a test")
        finally:
            paths.logs.rmdir()
            paths.run_dir.rmdir()
            kept.forget(paths)
    left = (tmp_path / "cache/mcp-tunnel-lab/logs").iterdir()
    assert sorted(path.name.rpartition("-")[2] for path in left) == names[1:]


_TESTS = """
import os, signal, json, time
from lab.supervision import facts
from lab.core.paths import LabPaths
from replicas import LAB_NAME

def test_first():
    os.kill(facts.read(LabPaths(LAB_NAME))["supervisor"], signal.SIGKILL)
    while not facts.gone(LabPaths(LAB_NAME)):
        time.sleep(0.02)

def test_second():
    pass

def test_third():
    pass
"""


def test_a_scenarios_tests_stop_at_once(name: str, tmp_path: Path) -> None:
    """Use the conftest.py of the scenarios, and tests of which the first ends the lab."""
    assert lab("up", name, "--hosts", "1")[0] == 0
    molecule = ROOT / "molecule"
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "conftest.py").write_text((molecule / "conftest.py").read_text())
    (tests / "test_scenario.py").write_text(_TESTS)

    def run() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tests), str(tests)],
            env={
                **os.environ,
                "MOLECULE_SCENARIO_NAME": name,
                "PYTHONPATH": f"{ROOT}:{molecule / 'shared'}",
            },
            cwd=tests,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        return done.returncode, done.stdout

    for _ in range(2):  # while the lab is up, and when it is not there from the start
        status, output = run()
        assert status not in (0, 1)
        assert f"lab {name} ended unexpectedly" in output
        assert "its logs are in " in output
        assert len(output.splitlines()) < 40
