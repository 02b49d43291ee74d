"""The proxy becomes another release of itself without letting go of its listening sockets.

The supervisor replaces its own program (execve(2)) by that on disk now, under the same process
id, and passes the sockets on as systemd would (sd_listen_fds(3)). Its workers finish what they have
begun, watched by the new program, and end; new ones take what comes from now on.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import sys
from collections.abc import MutableMapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from socket import socket
from typing import Any

from .. import __file__ as _package
from ..config.model import Address
from .worker_process import Handle

CODE = str(Path(_package).resolve().parent)
"""Where the running code came from: tells one release from another."""

_FIRST = 3
_ABOVE = 256
_LEGACY = "MCP_PROXY_LEGACY"

_PATIENCE = 15.0
"""Seconds for the verdict of the code on disk; ``mcp-proxy reload`` waits longer."""


@dataclass(frozen=True)
class Legacy:
    """What a release leaves to the next one, beside its sockets.

    They listen at ``listen``, and the last of them, as many as ``admin_sockets``, at ``admin``.
    ``workers`` are left to end.
    """

    listen: Address
    admin: Address | None = None
    admin_sockets: int = 0
    workers: list[Handle] = field(default_factory=list)


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


def become_release_on_disk(sockets: Sequence[socket], legacy: Legacy) -> None:
    """Become the release on disk, with *sockets* and the *legacy*. Never returns.

    Raises :class:`OSError` if it cannot be run; descriptors are in disorder by then.
    """
    logging.shutdown()
    # Out of the way first: one socket may be in the place that another has to take.
    kept = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, _ABOVE) for sock in sockets]
    above = _ABOVE + len(kept)
    workers = [(pid, _inheritable(channel, above)) for pid, channel in legacy.workers]
    for place, descriptor in enumerate(kept, _FIRST):
        os.dup2(descriptor, place, inheritable=True)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(kept))
    os.environ[_LEGACY] = json.dumps({**asdict(legacy), "workers": workers})
    command = [*_program(), *sys.argv[1:]]
    os.execv(command[0], command)  # noqa: S606 - without a shell, as it should be


def _inheritable(descriptor: int, above: int) -> int:
    """Return a copy that is still open after execve(2); -1 for -1."""
    return descriptor if descriptor < 0 else fcntl.fcntl(descriptor, fcntl.F_DUPFD, above)


def legacy(environ: MutableMapping[str, str]) -> Legacy | None:
    """Return what the release that this process was before has left, once; ``None`` without one.

    It may be a later release, which left more: the way back must be open.
    """
    text = environ.pop(_LEGACY, "")
    if not text:
        return None
    values = json.loads(text)
    return Legacy(
        _address(values["listen"]),
        _address(values["admin"]) if values["admin"] else None,
        values["admin_sockets"],
        [(pid, channel) for pid, channel, *_later in values["workers"]],
    )


def _address(values: dict[str, Any]) -> Address:
    return Address(values["host"], values["port"])
