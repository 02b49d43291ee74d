"""One worker as its supervisor sees it: a child process, a channel, and what came over it."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..watch.metrics import Snapshot
from .channel import Channel
from .control import Message

PATIENCE = 5
"""Heartbeats that may be missing in a row before a worker counts as hung."""

FIRST_PATIENCE = 90
"""The same before its first sign of life: a busy emulated machine needs a minute to read all code.

With the supervisor's own start, less than the unit's TimeoutStartSec=.
"""

_GRACE = 1.0
"""Seconds that a process may live on without its channel."""

_REAP_SECONDS = 0.01

# With the supervisor's own search path, whatever led to it, and nothing else (python(1), -I, -S).
_CODE = """\
import sys
sys.path[:] = {path!r}
from mcp_proxy.process.worker import main
sys.exit(main(sys.argv[1:]))
"""

_NOT_FOR_WORKERS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")

# Settings of glibc's malloc (mallopt(3)), in bytes; other C libraries do not know them. Without
# them, the buffers of each turn are given back to the system and taken from it again: most of the
# time that a megabyte takes are then page faults. A worker keeps this much at most when idle.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 22)}

Handle = tuple[int, int]
"""A worker's process id, and the descriptor of its channel, -1 for none."""


class _Adopted:
    """A child that this process has from the program that it was before: what is needed of Popen.

    As it is our child, its id belongs to no other process until we have waited for it.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, or ``None`` as long as it runs."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self._status = 0
            else:
                self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class WorkerProcess:
    """See the module. The attributes are for reading."""

    def __init__(self, number: int, on_change: Callable[[WorkerProcess, str], None]) -> None:
        """*on_change* is called with ``ready``, ``leaving`` and ``ended``."""
        self.number = number
        self.ready = asyncio.Event()
        self.left = asyncio.Event()
        self.ended = asyncio.Event()
        self.cut = 0
        self.silent = False
        self.exit_status = 0
        self.counts: Snapshot = {}
        self.process: dict[str, float] = {}
        self.started = asyncio.get_running_loop().time()
        self._child: subprocess.Popen[bytes] | _Adopted
        self._on_change = on_change
        self._channel = Channel(self._on_message, self._on_close)
        self._missed = 0
        self._patience = PATIENCE
        self._mute = False
        self._applying: list[asyncio.Future[None]] = []
        self._counting: list[asyncio.Future[None]] = []

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Run the process, which accepts from *sockets* once it has its settings.

        Raises :class:`OSError`.
        """
        ours, child = self._spawn(sockets)
        self._child = child
        self._patience = FIRST_PATIENCE
        try:
            await self._channel.connect(ours)
        except BaseException:
            child.kill()
            child.wait()
            self.ended.set()
            raise

    async def adopt(self, handle: Handle) -> None:
        """Be a worker of the program that this process was before; it drains.

        Without a channel, nobody can tell whether it hangs.
        """
        pid, descriptor = handle
        self._child = _Adopted(pid)
        self.left.set()
        if descriptor < 0:
            self._mute = True
            self._reap(math.inf)
            return
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        await self._channel.connect(sock)

    def _spawn(
        self, sockets: Sequence[socket.socket]
    ) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        descriptors = [sock.fileno() for sock in (theirs, *sockets)]
        code = _CODE.format(path=[os.path.abspath(path) for path in sys.path])
        with theirs:
            child = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-IS", "-c", code, *map(str, [self.number + 1, *descriptors])],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                env=worker_environment(os.environ),
            )
        ours.setblocking(False)
        return ours, child

    @property
    def pid(self) -> int:
        """The process' id."""
        return self._child.pid

    @property
    def handle(self) -> Handle:
        """What another program needs to :meth:`adopt` it."""
        return self.pid, self._channel.descriptor()

    @property
    def answers(self) -> bool:
        """Whether it takes requests, and has given a sign of life when one was due."""
        return self.ready.is_set() and self._missed <= 2 and not self.ended.is_set()

    def apply(self, settings: dict[str, Any]) -> asyncio.Future[None]:
        """Send *settings*; the future is done when they are in use, or the process has ended."""
        self._channel.send("settings", **settings)
        return self._expect(self._applying)

    def count(self) -> asyncio.Future[None]:
        """Ask for :attr:`counts`; the future is done when they came, or the process has ended."""
        self._channel.send("count")
        return self._expect(self._counting)

    def drain(self, seconds: float) -> None:
        """Let it finish what it has begun within *seconds*; with 0 after that: let it end now."""
        self._channel.send("drain", seconds=seconds)

    def beat(self) -> None:
        """Expect a sign of life between any two calls; kill the process that gives none too often.

        See :data:`PATIENCE` and :data:`FIRST_PATIENCE`.
        """
        self._missed += not self._mute
        if self._missed > self._patience:
            self.silent = True
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        if not self.ended.is_set():
            self._child.kill()

    def _expect(self, waiting: list[asyncio.Future[None]]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.ended.is_set():
            future.set_result(None)
        else:
            waiting.append(future)
        return future

    def _on_message(self, message: Message) -> None:
        kind = message["kind"]
        self._missed = 0
        self._patience = PATIENCE
        if kind == "alive":
            self.counts = message["counts"]
            self.process = message["process"]
            _finish(self._counting)
        elif kind == "applied":
            _finish(self._applying[:1])
            del self._applying[:1]
        elif kind == "ready":
            self.ready.set()
            self._on_change(self, kind)
        elif kind == "leaving":
            self.left.set()
            self._on_change(self, kind)
        elif kind == "drained":
            self.cut = message["cut"]

    def _on_close(self) -> None:
        # It ends, or is of no use any more: a worker without a channel cannot be controlled.
        self._reap(asyncio.get_running_loop().time() + _GRACE)

    def _reap(self, deadline: float) -> None:
        # Without a thread: the system may be short of them just when workers die.
        loop = asyncio.get_running_loop()
        status = self._child.poll()
        if status is None:
            if loop.time() >= deadline:
                self._child.kill()
            loop.call_later(_REAP_SECONDS, self._reap, deadline)
            return
        self.exit_status = status
        self.ended.set()
        _finish(self._applying)
        _finish(self._counting)
        self._on_change(self, "ended")

    def how_it_ended(self) -> str:
        """Return the end for the log: ``killed by SIGKILL``, ``exit status 1``."""
        if self.silent:
            return "it did not answer"
        if self.exit_status < 0:
            return f"killed by {signal.Signals(-self.exit_status).name}"
        return f"exit status {self.exit_status}"

    def why_it_ended(self) -> str:
        """Return the reason for :meth:`watch.metrics.Metrics.worker_restarted`."""
        if self.silent:
            return "silent"
        return "killed" if self.exit_status < 0 else "exit"


def worker_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker: that of its supervisor, *ours*, and settings of its own."""
    return {**_MALLOC, **{n: v for n, v in ours.items() if n not in _NOT_FOR_WORKERS}}


def _finish(waiting: list[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
