# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a program of the host within a time and a size."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

# As root would get it in a shell, and nothing of the caller's: no proxy, no locale, no colours.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "SYSTEMD_COLORS": "0",
    "SYSTEMD_PAGER": "",
    "NO_COLOR": "1",
}
_PIECE = 65536
_LEAST_SECONDS = 0.1  # for the exit after the end of the output


@dataclass(frozen=True)
class Done:
    """The output of a program, and how it ended.

    Attributes:
        output: its beginning, if it was cut.
        status: its exit status; None if it was ended by us.
        problem: why it was ended or could not be started; ``""`` if neither.
        cut: whether there was more output.
    """

    output: bytes
    status: int | None
    problem: str = ""
    cut: bool = False


def run(command: Sequence[str], seconds: float, most: int) -> Done:
    """Runs *command*, for at most *seconds*, and takes at most *most* bytes of its output."""
    try:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
    except OSError as error:
        return Done(b"", None, f"{command[0]}: {error.strerror or error}")
    deadline = time.monotonic() + seconds
    with process:
        output, is_whole = _read(process, deadline, most)
        if is_whole:
            # It may close its output and go on.
            with contextlib.suppress(subprocess.TimeoutExpired):
                return Done(output, process.wait(max(deadline - time.monotonic(), _LEAST_SECONDS)))
        # With its children: a pager or a helper would keep the pipe open.
        os.killpg(process.pid, signal.SIGKILL)
        if len(output) >= most:
            return Done(output[:most], None, cut=True)
        return Done(output, None, f"{command[0]}: has not ended within {seconds:.0f} seconds")


def _read(process: subprocess.Popen[bytes], deadline: float, most: int) -> tuple[bytes, bool]:
    """Its output, and whether that is all of it."""
    stream = process.stdout
    if stream is None:
        return b"", True
    found = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while len(found) < most:
            if not selector.select(max(deadline - time.monotonic(), 0)):
                return bytes(found), False
            piece = os.read(stream.fileno(), _PIECE)
            if not piece:
                return bytes(found), True
            found += piece
    return bytes(found), False
