"""Labs for the tests. Each has a name of its own, so that tests and other labs may overlap."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import lifecycle
from lab.paths import TESTS_DIR, LabPaths

_numbers = itertools.count()


def lab_command(*arguments: str, **options: object) -> subprocess.Popen[str]:
    """Starts `python -m lab …`; its output can be read from stdout."""
    settings: dict[str, object] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
        "env": {**os.environ, "PYTHONPATH": str(TESTS_DIR)},
        **options,
    }
    return subprocess.Popen([sys.executable, "-m", "lab", *arguments], **settings)  # type: ignore[call-overload, no-any-return]


def lab(*arguments: str) -> tuple[int, str]:
    """Runs `python -m lab …` to its end: (exit status, output)."""
    process = lab_command(*arguments)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def leftovers(name: str) -> list[str]:
    """Everything on the machine that belongs to this lab."""
    paths = LabPaths(name)
    namespace = paths.namespace
    found = [str(p) for p in (paths.run_dir, paths.disks) if p.exists()]
    found += [str(p) for p in Path("/sys/fs/cgroup").glob(f"*/{namespace}")]
    found += [str(p) for p in Path("/run/netns").glob(f"{namespace}*")]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [line for line in mounts if namespace in line or str(paths.disks) in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            cgroup = (process / "cgroup").read_text()
        except OSError:
            continue
        if f"/{namespace}/" in cgroup or str(paths.run_dir) in command:
            found.append(f"process {process.name}: {command}")
    return found


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a lab that does not exist; should the test make it, it is ended."""
    name = f"t{os.getpid() % 10000}x{next(_numbers)}"
    yield name
    lifecycle.down(name)


@dataclass(frozen=True)
class RunningLab:
    """A lab that is up."""

    paths: LabPaths

    def on(self, host: str, command: str) -> str:
        """Runs a shell command on a host as ops and returns its output, both streams."""
        done = subprocess.run(
            ["ssh", "-F", self.paths.ssh_config, host, "--", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout.strip()

    def inside(self, *argv: str) -> str:
        """Runs a command of the machine in the lab's network and returns its output."""
        return subprocess.run(
            ["ip", "netns", "exec", self.paths.namespace, *argv],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout


@pytest.fixture(scope="session")
def two() -> Iterator[RunningLab]:
    """host1 with Debian 12 and host2 with Debian 13, for tests that leave them as they are."""
    name = f"s{os.getpid() % 10000000}"
    paths = lifecycle.up(name, 2, ["12", "13"], {})
    yield RunningLab(paths)
    lifecycle.down(name)


@pytest.fixture
def fake_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a shell script of the given name in front of the machine's tools."""
    directory = tmp_path / "tools"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def add(name: str, script: str) -> None:
        path = directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return add
