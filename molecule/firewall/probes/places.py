"""The machines of the scenario: hosts, LAN neighbour, Internet, and the agents that run there."""

from __future__ import annotations

import json
import select
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from replicas import CHECKOUT, HOSTS, LAB_NAME, RUN

_PROGRAM = Path(__file__).with_name("agent.py")
_START = "import json,sys; exec(json.loads(sys.stdin.readline()))"


def inside(where: str, *command: str) -> list[str]:
    """Return the command line that runs a program of this machine at a place of the network."""
    return [sys.executable, "-m", "lab", "net", LAB_NAME, "exec", where, *command]


class Unreachable(Exception):
    """A place has not answered in time."""


class Agent:
    """The agent at one place: on a host over SSH, elsewhere with this machine's Python."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._number = 0
        command = inside(where, "python3", "-u", "-c", _START)
        if where in HOSTS:
            remote = shlex.join(["sudo", "python3", "-u", "-c", _START])
            command = ["ssh", "-F", str(RUN / "ssh_config"), where, "--", remote]
        self._process = subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._pending = b""
        self._write(json.dumps(_PROGRAM.read_text()))

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        data = memoryview(line.encode() + b"\n")
        try:
            while data:
                data = data[self._process.stdin.write(data) :]
        except BrokenPipeError:
            raise Unreachable(f"{self.where}: the agent has ended") from None

    def tell(self, message: dict[str, Any]) -> None:
        """Begin a request; :meth:`answer` ends it."""
        self._number += 1
        self._write(json.dumps({"number": self._number, **message}))

    def answer(self, seconds: float = 120) -> Any:
        """Return the answer to the last message. Raises Unreachable."""
        deadline = time.monotonic() + seconds
        while True:
            line = self._line(deadline)
            answer = json.loads(line)
            if answer["number"] == self._number:  # else one that came too late
                break
        answers = answer["answer"]
        errors = [f"{user}: {each['error']}" for user, each in answers.items() if "error" in each]
        assert not errors, f"{self.where}: {errors}"
        return answers

    def ask(self, message: dict[str, Any], seconds: float = 120) -> Any:
        """Tell, and wait for the answer. Raises Unreachable."""
        self.tell(message)
        return self.answer(seconds)

    def run(self, *command: str) -> str:
        """Run a command as root and return its output."""
        done = self.ask({"run": command})["root"]
        assert done["status"] == 0, f"{self.where}: {shlex.join(command)}: {done['stderr']}"
        return str(done["stdout"])

    def _line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise Unreachable(f"{self.where}: no answer")
            piece = self._process.stdout.read(1 << 16)
            if not piece:
                raise Unreachable(f"{self.where}: the agent has ended")
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return line
