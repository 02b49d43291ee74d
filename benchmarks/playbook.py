"""A timed run of ansible-playbook, with a census of its work on each host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

from benchmarks import BenchError

ROOT = Path(__file__).resolve().parent.parent
_BIN = Path(sys.executable).parent
_CALLBACKS = Path(__file__).resolve().parent / "callback_plugins"
CONTROLLER = "controller"


@dataclass(frozen=True)
class Census:
    """The work that one run did.

    :param tasks_per_host: tasks that ran (not those that were skipped) for the host with most
    :param skipped_per_host: tasks whose condition was false, for the host with most
    :param modules_per_host: module executions on an ordinary host (the lower median)
    :param modules_on_busiest: those on the host with most: the state host, where others delegate to
    :param modules_on_controller: module executions that were delegated to the controller
    :param changed: "host: task" of each task that changed something
    """

    tasks_per_host: int
    skipped_per_host: int
    modules_per_host: int
    modules_on_busiest: int
    modules_on_controller: int
    changed: Sequence[str]


def count(lines: Iterable[str]) -> Census:
    """Sums up the lines that the callback ``task_census`` wrote."""
    tasks: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    changed = []
    for line in lines:
        event = json.loads(line)
        if "module" in event:
            modules[event["host"]] += 1
        elif event["task"] == "skipped":
            skipped[event["host"]] += 1
        else:
            tasks[event["host"]] += 1
            if event["task"] == "changed":
                changed.append(f"{event['host']}: {event['name']}")
    on_controller = modules.pop(CONTROLLER, 0)
    return Census(
        tasks_per_host=max(tasks.values(), default=0),
        skipped_per_host=max(skipped.values(), default=0),
        modules_per_host=median_low(modules.values()) if modules else 0,
        modules_on_busiest=max(modules.values(), default=0),
        modules_on_controller=on_controller,
        changed=changed,
    )


def timed(command: Sequence[str], limit: float, env: Mapping[str, str] | None = None) -> float:
    """Runs a command at the root of the checkout.

    :param limit: seconds after which it counts as failed
    :return: seconds that it took
    :raises BenchError: it failed; the text ends with the end of its output
    """
    path = f"{_BIN}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryFile() as output:
        begin = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - our own command lines
            command,
            cwd=ROOT,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, to be ended as a whole
        )
        try:
            status = str(process.wait(limit))
        except subprocess.TimeoutExpired:
            status = f"a time-out of {limit:.0f} s"
        finally:
            if process.poll() is None:  # too late, or interrupted
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
        seconds = time.monotonic() - begin
        if status != "0":
            output.seek(0)
            tail = output.read().decode(errors="replace").splitlines()[-25:]
            raise BenchError(f"{' '.join(command)} ended with {status}:\n" + "\n".join(tail))
    return seconds


def run_playbook(
    playbook: str, inventory: str, limit: float, extra: Mapping[str, object] | None = None
) -> tuple[float, Census]:
    """Runs a playbook: seconds that it took, and the census of its work.

    :param extra: variables that overrule the inventory's
    :raises BenchError: it failed
    """
    with tempfile.TemporaryDirectory(prefix="mcp-bench-") as directory:
        census = Path(directory) / "census.jsonl"
        census.touch()
        seconds = timed(
            [
                *("ansible-playbook", "--inventory", inventory),
                *("--extra-vars", json.dumps(extra or {}), playbook),
            ],
            limit,
            {
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_CALLBACK_PLUGINS": str(_CALLBACKS),
                "ANSIBLE_CALLBACKS_ENABLED": "task_census",
                "TASK_CENSUS_FILE": str(census),
            },
        )
        return seconds, count(census.read_text().splitlines())
