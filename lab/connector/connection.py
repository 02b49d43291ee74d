"""One connection of the connector to the edge: dial, register, serve, unregister."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from async_timeout import timeout

from ..wire.h2link import Link
from ..wire.h2stream import Stream
from . import quic
from .capnp_wire import WireError
from .discovery import Address
from .ingress import Ingress
from .log import Log
from .origin import UPGRADE_HEADER, Origin, OriginError, answer_error, answer_json
from .protocol import QUIC
from .registration import ControlStream, Identity, Refused, register_within
from .status import Status

EDGE_NAME = "h2.cftunnel.com"
_DIAL_TIMEOUT = 15.0
_RPC_TIMEOUT = 5.0
_CHUNK = 1 << 18


class Lost(Exception):
    """The connection ended unexpectedly; the text is the one that the vendor logs."""


@dataclass(frozen=True)
class Context:
    """State shared by all connections of a process. `draining` is set when shutdown begins."""

    who: Identity
    ingress: Ingress
    status: Status
    log: Log
    tls: ssl.SSLContext
    draining: asyncio.Event


class EdgeConnection:
    """Connection number `index` to the edge at `address`."""

    def __init__(
        self, context: Context, index: int, address: Address, attempt: int, protocol: str
    ) -> None:
        self._context = context
        self._index = index
        self._address = address
        self._attempt = attempt
        self._protocol = protocol
        self._tasks: set[asyncio.Task[None]] = set()
        self._controlled = False
        self._outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._local_ip = b""

    async def run(self, registered: Callable[[], None]) -> None:
        """Serve until shutdown. Raises Lost, Refused or OSError (dial); calls `registered` once."""
        with contextlib.ExitStack() as held:
            if self._protocol == QUIC:
                held.enter_context(await quic.dial(self._address))
            await self._run(registered)

    async def _run(self, registered: Callable[[], None]) -> None:
        try:
            async with timeout(_DIAL_TIMEOUT):
                reader, writer = await asyncio.open_connection(
                    self._address.host,
                    self._address.port,
                    ssl=self._context.tls,
                    server_hostname=EDGE_NAME,
                    limit=_CHUNK,
                )
        except asyncio.TimeoutError as error:
            raise OSError("DialContext error: i/o timeout") from error
        local = writer.get_extra_info("sockname")[0]
        self._local_ip = socket.inet_pton(self._address.family, local.partition("%")[0])
        link = Link(reader, writer, client=False, on_stream=lambda s: self._accept(s, registered))
        carried = asyncio.create_task(link.run())
        try:
            await asyncio.wait([carried, self._outcome], return_when=asyncio.FIRST_COMPLETED)
            if self._outcome.done():
                self._outcome.result()
            else:
                self._context.log.info("Lost connection with the edge", connIndex=self._index)
                raise Lost("connection with edge closed")
            # Vendor behaviour: open streams are waited for; the grace period does not cut them.
            while requests := self._requests():
                await asyncio.wait([carried, *requests], return_when=asyncio.FIRST_COMPLETED)
                if carried.done():
                    break
            await link.close()
        finally:
            self._context.status.connected.discard(self._index)
            for task in self._tasks:
                task.cancel()
            link.abort()
            await asyncio.gather(carried, *self._tasks, return_exceptions=True)

    def _requests(self) -> list[asyncio.Task[None]]:
        return [task for task in self._tasks if task.get_name() != "control"]

    def _accept(self, stream: Stream, registered: Callable[[], None]) -> None:
        kind = stream.headers.get(UPGRADE_HEADER, "")
        work: Awaitable[None]
        if kind == "control-stream" and not self._controlled:
            self._controlled = True
            work = self._control(stream, registered)
        elif kind == "update-configuration":
            work = self._configure(stream)
        else:
            work = self._request(stream, kind)
        task = asyncio.ensure_future(work)
        if kind == "control-stream":
            task.set_name("control")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _control(self, stream: Stream, registered: Callable[[], None]) -> None:
        try:
            await self._register(stream, registered)
        except (Refused, Lost) as error:
            self._finish(error)
        except (WireError, ConnectionError, asyncio.TimeoutError) as error:
            self._finish(Lost(str(error) or "context deadline exceeded"))

    async def _register(self, stream: Stream, registered: Callable[[], None]) -> None:
        context = self._context
        await stream.send_headers([(":status", "200")])
        control = ControlStream(stream)
        try:
            answer = await register_within(
                control, context.who, self._index, self._local_ip, self._attempt, _RPC_TIMEOUT
            )
        except Refused:
            context.status.refused += 1
            raise
        context.status.registered += 1
        context.status.connected.add(self._index)
        context.status.locations[self._index] = answer.location
        context.log.info(
            "Registered tunnel connection",
            connIndex=self._index,
            connection=answer.connection,
            event=0,
            ip=self._address.host,
            location=answer.location,
            protocol=self._protocol,
        )
        registered()
        if self._index == 0 and not answer.remotely_managed:
            services = [{"service": rule.service} for rule in context.ingress.rules]
            rules = {"__configuration_flags": {}, "ingress": services}
            await control.publish_configuration(json.dumps(rules).encode())
        gone = asyncio.create_task(control.lost())
        draining = asyncio.create_task(context.draining.wait())
        try:
            await asyncio.wait([gone, draining], return_when=asyncio.FIRST_COMPLETED)
            if not context.draining.is_set():
                gone.result()
                raise Lost("connection with edge closed")
        finally:
            draining.cancel()
            gone.cancel()
            await asyncio.gather(gone, draining, return_exceptions=True)
        context.status.connected.discard(self._index)
        async with timeout(_RPC_TIMEOUT):
            await control.unregister()
        context.log.info(
            "Unregistered tunnel connection", connIndex=self._index, event=0, ip=self._address.host
        )
        await stream.end()
        self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        if self._outcome.done():
            return
        if error is None:
            self._outcome.set_result(None)
        else:
            self._outcome.set_exception(error)

    async def _configure(self, stream: Stream) -> None:
        with contextlib.suppress(ConnectionError):
            body = b""
            while data := await stream.read():
                body += data
            answer = self._context.ingress.push(body)
            version = self._context.ingress.version
            self._context.log.info("Updated to new configuration", version=version)
            await answer_json(stream, answer)

    async def _request(self, stream: Stream, kind: str) -> None:
        status, log = self._context.status, self._context.log
        status.requests += 1
        status.concurrent += 1
        headers = stream.headers
        rule = self._context.ingress.choose(
            headers.get(":authority", ""), headers.get(":path", "/")
        )
        try:
            with contextlib.suppress(ConnectionError):
                if kind != "websocket":
                    await answer_error(stream, 502)
                elif rule.status is not None:
                    await answer_error(stream, rule.status)
                else:
                    await Origin(rule.service, str(self._context.who.connector)).serve(stream)
        except OriginError as error:
            status.errors += 1
            fields = {"connIndex": self._index, "event": 1, "ingressRule": 0}
            log.error("", error=error, originService=rule.service, **fields)
            log.error("failed to serve incoming request", error=f"Failed to proxy HTTP: {error}")
        finally:
            status.concurrent -= 1
            stream.reset()
