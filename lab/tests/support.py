"""Helpers that the laboratory's tests share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.core.checkouts import OWN, ROOT, Checkout
from lab.core.paths import LabPaths

#: Seconds, at most, for whatever a test waits for: the machine may be busy.
PATIENCE = 120.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Returns once the condition holds; *what* says what is wrong if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def lab_command(*arguments: str, **options: object) -> subprocess.Popen[str]:
    """Starts `python -m lab …`; its output can be read from stdout."""
    settings: dict[str, object] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
        "env": {**os.environ, "PYTHONPATH": str(ROOT)},
        # A background job of a shell inherits an ignored SIGINT; a command at a terminal does not.
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    }
    return subprocess.Popen([sys.executable, "-m", "lab", *arguments], **settings)  # type: ignore[call-overload, no-any-return]


def lab(*arguments: str) -> tuple[int, str]:
    """Runs `python -m lab …` to its end: (exit status, output)."""
    process = lab_command(*arguments)
    output, _ = process.communicate(timeout=900)
    return process.returncode, output


def nothing_is_left(name: str, checkout: Checkout = OWN) -> None:
    """Asserts that nothing belongs to this lab any more, once what was killed has ended."""
    wait_until(lambda: leftovers(name, checkout) == [], "leftovers")


def leftovers(name: str, checkout: Checkout = OWN) -> list[str]:
    """Everything on the machine that belongs to this lab."""
    paths = LabPaths(name, checkout)
    label = paths.label
    found = [str(p) for p in (paths.run_dir, paths.disks, paths.lock) if p.exists()]
    found += [str(p) for p in Path("/sys/fs/cgroup").glob(f"*/{label}")]
    places = (label, f"{paths.run_dir}/", f"{paths.disks}/")
    namespaces = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            namespace = (process / "ns/mnt").stat().st_ino
            if namespace not in namespaces:
                namespaces.add(namespace)
                mounts = (process / "mountinfo").read_text().splitlines()
                found += [line for line in mounts if any(place in line for place in places)]
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            cgroup = (process / "cgroup").read_text()
        except OSError:
            continue
        if f"/{label}/" in cgroup or str(paths.run_dir) in command:
            found.append(f"process {process.name}: {command}")
    return found


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
            timeout=300,
            check=False,
        )
        return done.stdout.strip()

    def inside(self, *argv: str) -> str:
        """Runs a command of the machine in the lab's network and returns its output."""
        return subprocess.run(
            ["nsenter", f"--net={self.paths.network}", "--", *argv],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout
