"""Cap'n Proto RPC server on a control stream. The only file that touches pycapnp.

pycapnp runs on asyncio inside `event_loop()`; it needs a real file descriptor, so a socket pair
stands between it and the HTTP/2 stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import capnp  # type: ignore[import-untyped]

from ..wire.h2stream import Stream

_SCHEMA: Any = capnp.load(str(Path(__file__).with_name("registration.capnp")))
_CHUNK = 1 << 16


class Refused(Exception):
    """A registration that the edge does not accept. The connector logs the text."""

    def __init__(self, cause: str, *, retry: bool) -> None:
        super().__init__(cause)
        self.retry = retry


@dataclass(frozen=True)
class Application:
    """A connector's description of itself when it registers."""

    account: str
    secret: bytes
    tunnel: bytes
    index: int
    connector: uuid.UUID
    version: str
    attempts: int


class Registrar(Protocol):
    """The object that decides about one connection."""

    def register(self, application: Application) -> tuple[uuid.UUID, str]:
        """Accept; return the connection's id and location. Raises Refused."""

    def unregister(self) -> None:
        """The connection takes no new requests."""

    def configure(self, config: bytes) -> None:
        """The connector's ingress rules (JSON)."""


@contextlib.asynccontextmanager
async def event_loop() -> AsyncIterator[None]:
    """Let pycapnp work on the running asyncio loop; to be entered once around the whole program."""
    async with capnp.kj_loop():
        yield


class _Server(_SCHEMA.Registration.Server):  # type: ignore[misc]
    def __init__(self, registrar: Registrar) -> None:
        self._registrar = registrar

    async def register(
        self, auth: Any, tunnel: Any, index: int, options: Any, _context: Any, **_: Any
    ) -> None:
        raw = bytes(options.connector.id)
        application = Application(
            account=auth.account,
            secret=bytes(auth.secret),
            tunnel=bytes(tunnel),
            index=index,
            connector=uuid.UUID(bytes=raw) if len(raw) == 16 else uuid.UUID(int=0),
            version=options.connector.version,
            attempts=options.attempts,
        )
        outcome = _context.results.init("answer").outcome
        try:
            connection, location = self._registrar.register(application)
        except Refused as refused:
            refusal = outcome.init("refusal")
            refusal.cause = str(refused)
            refusal.shouldRetry = refused.retry
            return
        details = outcome.init("details")
        details.connection = connection.bytes
        details.location = location
        details.remotelyManaged = False

    async def unregister(self, _context: Any, **_: Any) -> None:
        self._registrar.unregister()

    async def configure(self, config: Any, _context: Any, **_: Any) -> None:
        self._registrar.configure(bytes(config))


async def serve(stream: Stream, registrar: Registrar) -> None:
    """Answer RPC on `stream` until either side ends it. Raises ConnectionError."""
    ours, theirs = socket.socketpair()
    rpc = await capnp.AsyncIoStream.create_connection(sock=theirs)
    server = capnp.TwoPartyServer(rpc, bootstrap=_Server(registrar))
    reader, writer = await asyncio.open_connection(sock=ours)

    async def inward() -> None:
        while data := await stream.read():
            writer.write(data)
            await writer.drain()

    async def outward() -> None:
        while data := await reader.read(_CHUNK):
            await stream.write(data)

    tasks = [asyncio.create_task(inward()), asyncio.create_task(outward())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        with contextlib.suppress(Exception):
            await server.on_disconnect()
