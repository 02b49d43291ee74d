"""A program with a terminal before it, and a person who answers its question."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_LONGEST = 120
"""Seconds that a program may take, so that one that waits for ever fails its test."""


def _take_terminal() -> None:
    """Make the terminal that is the input of this process its controlling one."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def run_at_terminal(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    question: str = "",
    answer: str = "",
) -> tuple[int, str]:
    """Return exit status and output; once *question* is in the output, *answer* is typed.

    It is typed again and again: what is typed before a question is ready to be answered is lost.

    :raises TimeoutError: if the program does not end.
    """
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=directory,
        # Else the question, which ends no line, stays in the program.
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(terminal)
    assert process.stdout is not None
    told, end = b"", time.monotonic() + _LONGEST
    try:
        while True:
            ready = select.select([process.stdout], [], [], 0.3)[0]
            if ready:
                part = os.read(process.stdout.fileno(), 65536)
                if not part:
                    break
                told += part
            elif question and question.encode() in told:
                os.write(master, f"{answer}\r".encode())
            if time.monotonic() > end:
                raise TimeoutError(told.decode(errors="replace")[-2000:])
        return process.wait(_LONGEST), told.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        os.close(master)
