"""The connector's side of the control stream: register, publish configuration, unregister.

Cap'n Proto RPC level 1 as a client of one interface; vendor reference, "The connector protocol
over HTTP/2". Message layouts follow the published rpc.capnp.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass

from async_timeout import timeout

from ..wire.h2stream import Stream
from .capnp_wire import Pointer, Reader, Struct, Text, WireError, decode, encode

INTERFACE = 0xF71695EC7FE85497
_REGISTER, _UNREGISTER, _CONFIGURE = 0, 1, 2
_ABORT, _CALL, _RETURN, _FINISH, _BOOTSTRAP = 1, 2, 3, 4, 8


class Refused(Exception):
    """The edge answered a registration with an error. `retry` is the edge's advice."""

    def __init__(self, cause: str, retry: bool) -> None:
        super().__init__(cause)
        self.retry = retry


@dataclass(frozen=True)
class Identity:
    """The identity that registers: the token's three parts and this process."""

    account: str
    tunnel: uuid.UUID
    secret: bytes
    connector: uuid.UUID
    version: str


@dataclass(frozen=True)
class Registered:
    """The edge's answer to a registration."""

    connection: uuid.UUID
    location: str
    remotely_managed: bool


class ControlStream:
    """RPC client on one control stream. One call at a time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._question = 0

    async def register(
        self, who: Identity, index: int, local_ip: bytes, attempt: int
    ) -> Registered:
        """Register connection `index`. Raises Refused, WireError, ConnectionError."""
        await self._send(_BOOTSTRAP, Struct(struct.pack("<II", self._question, 0), (None,)))
        client = Struct(
            pointers=(who.connector.bytes, None, Text(who.version), Text("linux_python")),
        )
        answer = await self._call(
            _REGISTER,
            Struct(
                struct.pack("<B", index),
                (
                    Struct(pointers=(Text(who.account), who.secret)),
                    who.tunnel.bytes,
                    Struct(struct.pack("<BBB", 0, 0, min(attempt, 255)), (client, local_ip)),
                ),
            ),
        )
        response = answer.struct(0)
        detail = response.struct(0) if response else None
        if response is None or detail is None:
            raise WireError("registration answered without a result")
        if response.number(0, 2) == 0:
            raise Refused(detail.text(0), bool(detail.number(8, 1) & 1))
        return Registered(
            uuid.UUID(bytes=detail.blob(0)), detail.text(1), bool(detail.number(0, 1) & 1)
        )

    async def publish_configuration(self, config: bytes) -> None:
        """Tell the edge this connector's ingress rules (JSON)."""
        await self._call(_CONFIGURE, Struct(pointers=(config,)))

    async def unregister(self) -> None:
        """Announce that this connection takes no new requests."""
        await self._call(_UNREGISTER, Struct())

    async def lost(self) -> None:
        """Return when the edge ends the control stream."""
        while await self._stream.read():
            pass

    async def _call(self, method: int, params: Struct) -> Reader:
        self._question += 1
        question = self._question
        # The target is the answer, still to come, to question 0: the bootstrap.
        target = Struct(struct.pack("<IHH", 0, 1, 0), (Struct(struct.pack("<II", 0, 0), (None,)),))
        payload = Struct(pointers=(params, None))
        call = Struct(
            struct.pack("<IHHQQ", question, method, 0, INTERFACE, 0), (target, payload, None)
        )
        await self._send(_CALL, call)
        while True:
            answered, results = await self._returned()
            if answered == question:
                await self._send(_FINISH, Struct(struct.pack("<IB", question, 0)))
                return results

    async def _returned(self) -> tuple[int, Reader]:
        while True:
            message = await self._receive()
            kind = message.number(0, 2)
            body = message.struct(0)
            if kind == _ABORT:
                raise WireError(f"edge aborted the control stream: {body.text(0) if body else ''}")
            if kind != _RETURN or body is None:
                continue  # finish, release: bookkeeping of the edge
            answered = body.number(0, 4)
            content = body.struct(0)
            if body.number(6, 2) != 0:
                raise WireError(f"call failed at the edge: {content.text(0) if content else ''}")
            # The bootstrap's result is a capability; we name it by its question only.
            results = content.struct(0) if content and answered else None
            return answered, results or Reader(b"", 0, 0, 0)

    async def _receive(self) -> Reader:
        while (message := decode(self._buffer)) is None:
            data = await self._stream.read()
            if not data:
                raise ConnectionError("edge ended the control stream")
            self._buffer += data
        return message

    async def _send(self, kind: int, body: Pointer) -> None:
        await self._stream.write(encode(Struct(struct.pack("<H", kind), (body,))))


async def register_within(
    control: ControlStream, who: Identity, index: int, local_ip: bytes, attempt: int, seconds: float
) -> Registered:
    """`ControlStream.register` with the vendor's limit on the time it may take (5 s)."""
    async with timeout(seconds):
        return await control.register(who, index, local_ip, attempt)
