"""The proxy becomes another release of itself without letting go of its listening sockets.

The supervisor replaces its own program (execve(2)) by that on disk now, under the same process
id, and passes the sockets on as systemd would (sd_listen_fds(3)). Its workers notice that their
channel is gone, finish what they have begun, and end; new ones take what comes from now on.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, MutableMapping, Sequence
from pathlib import Path
from socket import socket

from .. import __file__ as _package

CODE = str(Path(_package).resolve().parent)
"""Where the running code came from: tells one release from another."""

_FIRST = 3
_ABOVE = 256
_DRAINING = "MCP_PROXY_DRAINING"

_PATIENCE = 15.0
"""Seconds for the verdict of the code on disk; ``mcp-proxy reload`` waits longer."""


def _program() -> list[str]:
    """This process' command line without the arguments, as it was given to the interpreter."""
    given: list[str] = getattr(sys, "orig_argv", ["", "-IS", *sys.argv])  # Python 3.9 has none
    return [sys.executable, *given[1 : len(given) - len(sys.argv[1:])]]


async def objections(config: str) -> list[str]:
    """Return the objections of the code on disk to the file *config*, or why it does not run."""
    try:
        process = await asyncio.create_subprocess_exec(
            *_program(),
            *("check-config", config),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        return [f"the release on disk cannot be run: {error}"]
    verdict = asyncio.ensure_future(process.communicate())
    try:
        await asyncio.wait({verdict}, timeout=_PATIENCE)
        late = not verdict.done()
    finally:
        if process.returncode is None:
            process.kill()
    out, _dummy = await verdict
    if late:
        return [f"the release on disk has not judged the configuration within {_PATIENCE:g} s"]
    said = out.decode(errors="replace").splitlines()[-20:]
    return said or [f"exit status {process.returncode}"] if process.returncode else []


def become_release_on_disk(sockets: Sequence[socket], workers: Iterable[int]) -> None:
    """Become the release on disk, with *sockets*; *workers* are left to end. Never returns.

    Raises :class:`OSError` if it cannot be run; descriptors are in disorder by then.
    """
    logging.shutdown()
    # Out of the way first: one socket may be in the place that another has to take.
    kept = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, _ABOVE) for sock in sockets]
    for place, descriptor in enumerate(kept, _FIRST):
        os.dup2(descriptor, place, inheritable=True)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(kept))
    os.environ[_DRAINING] = " ".join(map(str, workers))
    command = [*_program(), *sys.argv[1:]]
    os.execv(command[0], command)  # noqa: S606 - without a shell, as it should be


def predecessors(environ: MutableMapping[str, str]) -> list[int]:
    """Return the workers of the release that this process was before; they are passed only once."""
    return [int(pid) for pid in environ.pop(_DRAINING, "").split()]


async def reap(workers: list[int], seconds: float) -> None:
    """Wait for *workers* to end; now and then, take those that have ended off the list.

    A worker that has not ended after *seconds* is killed. It is a child of this process, so its id
    cannot belong to another process.
    """
    deadline = time.monotonic() + seconds
    while workers:
        workers[:] = [pid for pid in workers if not _has_ended(pid)]
        if time.monotonic() >= deadline:
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(1)


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
