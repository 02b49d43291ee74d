"""A worker: the data path in a process of its own, controlled by its supervisor.

It is started by :mod:`worker_process`, which is also where the command line is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from ..config.model import Config
from ..config.wire import from_wire
from ..tls import ticket_keys
from ..tls.contexts import ServerTls, server_context
from ..tunnel.server import ProxyServer
from ..watch import log
from ..watch.metrics import Metrics
from ..watch.process_metrics import measure
from . import process_name, signals
from .channel import Channel
from .control import HEARTBEAT, Message
from .listening import BACKLOG


def main(arguments: Sequence[str]) -> int:
    """Work until asked to end.

    *arguments*: the worker's number, the descriptors of the channel and of the listeners.
    """
    import uvloop

    number, *descriptors = map(int, arguments)
    process_name.take(process_name.of_worker(number))
    channel, *listeners = (socket.socket(fileno=descriptor) for descriptor in descriptors)
    for sock in (channel, *listeners):
        os.set_inheritable(sock.fileno(), False)
    # Those are for the supervisor, even where a terminal sends them to every process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.let_in()
    log.configure("info")
    uvloop.run(_work(listeners, channel))
    return 0


async def _work(listeners: list[socket.socket], channel: socket.socket) -> None:
    # Made here: before Python 3.10, asyncio's objects belong to the loop of that moment.
    await Worker(listeners).run(channel)


class Worker:
    """See the module."""

    def __init__(self, listeners: list[socket.socket]) -> None:
        self._listeners = listeners
        self._channel = Channel(self._on_message, self._drain_by_itself)
        self._metrics = Metrics()
        self._config: Config | None = None
        self._tls: ServerTls | None = None
        self._server: ProxyServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining: asyncio.Future[int] | None = None
        self._over = asyncio.Event()

    async def run(self, sock: socket.socket) -> None:
        """Talk to the supervisor over *sock* until the work is over."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain_by_itself)
        await self._channel.connect(sock)
        beating = asyncio.ensure_future(self._beat())
        await self._over.wait()
        beating.cancel()
        await self._channel.flush()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            self._report()

    def _report(self) -> None:
        self._channel.send("alive", counts=self._metrics.snapshot(), process=measure())

    def _on_message(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "count":
            self._report()
        elif kind == "drain":
            self._drain(message["seconds"])
        elif kind == "settings":
            try:
                self._apply_settings(message)
            except Exception:
                # The supervisor has tried all of it before. A successor starts with a clean slate.
                log.logger.exception("worker failed")
                self._drain_by_itself()

    def _apply_settings(self, message: Message) -> None:
        pair: dict[str, str] | None = message.get("pair")
        if pair is not None:
            context = server_context(pair["chain"].encode("latin-1"), pair["key"].encode("latin-1"))
            if self._tls is None:
                self._tls = ServerTls(context)
            self._tls.context = context
        tickets: str | None = message.get("tickets")
        if tickets is not None and self._tls is not None:
            shared = ticket_keys.use(self._tls.context, bytes.fromhex(tickets))
            if not shared and self._server is None:
                # Logged once, because only speed is lost.
                log.event(log.logger, log.WARN, "session tickets are not shared by the workers")
        wire: dict[str, Any] | None = message.get("config")
        if wire is not None:
            self._take(from_wire(wire))
        self._channel.send("applied")

    def _take(self, config: Config) -> None:
        log.configure(config.log_level)
        self._config = config
        for route in config.routes:
            self._metrics.add_route(route, config.options(route).refusing)
        if self._server is not None:
            self._server.apply(config)
        elif self._tls is not None:
            self._server = ProxyServer(config, self._metrics, self._tls)
            self._spawn(self._start(self._server))

    async def _start(self, server: ProxyServer) -> None:
        await server.start(self._listeners, BACKLOG)
        # All objects made so far stay: the garbage collector need not look at them again.
        gc.collect()
        gc.freeze()
        if self._draining is not None:
            server.stop_accepting()
        self._channel.send("ready")

    # -- the end -----------------------------------------------------------------------------

    def _drain_by_itself(self) -> None:
        """Drain because the supervisor is gone, or because this very process is asked to end."""
        if self._draining is None:
            self._drain(self._config.shutdown_timeout if self._config else 0)

    def _drain(self, seconds: float) -> None:
        if self._draining is not None:
            if not seconds:
                self._draining.cancel()  # cuts at once, see ProxyServer.drain()
            return
        if self._server is None:
            self._over.set()
            return
        self._server.stop_accepting()
        self._draining = asyncio.ensure_future(self._server.drain(seconds))
        self._channel.send("leaving")
        self._spawn(self._wait_for_the_rest(self._draining))

    async def _wait_for_the_rest(self, draining: asyncio.Future[int]) -> None:
        cut = 0
        with contextlib.suppress(asyncio.CancelledError):
            cut = await draining
        self._report()
        self._channel.send("drained", cut=cut)
        self._over.set()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.logger.error("worker failed", exc_info=task.exception())
            self._over.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
