"""HTTP servers of one process, ended together."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`: each server would take them from the others."""
        yield


def configuration(application: Any, place: str, **options: Any) -> uvicorn.Config:
    """Return the configuration of a server at `place` (host:port, IPv6 in brackets)."""
    host, _, port = place.rpartition(":")
    return uvicorn.Config(
        application,
        host=host.strip("[]"),
        port=int(port),
        ws="none",
        timeout_graceful_shutdown=1,
        **options,
    )


async def serve(*configurations: uvicorn.Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    servers = [_Server(each) for each in configurations]
    running = [asyncio.create_task(each.serve()) for each in servers]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    # A server that cannot bind ends by itself.
    await asyncio.wait([*running, stopped], return_when=asyncio.FIRST_COMPLETED)
    for server in servers:
        server.should_exit = True
    stopped.cancel()
    await asyncio.gather(*running)
