"""Carries one WebSocket request of the edge to the origin (the proxy) and pipes raw bytes.

Vendor behaviour: the upgrade goes out as HTTP/1.1 with the edge's path, query and Host; a 101
answer becomes status 200 towards the edge; as soon as one direction ends, the whole stream ends.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from async_timeout import timeout

from ..wire.h2stream import Headers, Stream

UPGRADE_HEADER = "cf-cloudflared-proxy-connection-upgrade"
_CONNECT_TIMEOUT = 30.0
_MAX_HEAD = 1 << 16
_CHUNK = 1 << 18
_UNREACHABLE = (
    "Unable to reach the origin service. "
    "The service may be down or it may not be responding to traffic from cloudflared"
)


class OriginError(Exception):
    """The origin cannot be reached or does not speak HTTP."""


@dataclass(frozen=True)
class Origin:
    """Where requests go. `tag` is the connector's id, which the origin sees in a header."""

    url: str
    tag: str

    async def serve(self, stream: Stream) -> None:
        """Answer one WebSocket request. Raises OriginError (502 was sent) or ConnectionError."""
        try:
            reader, writer = await self._connect()
            writer.write(_request_head(stream.headers, self.tag))
            status, headers = await _response_head(reader)
        except OriginError:
            await answer_error(stream, 502)
            raise
        try:
            await stream.send_headers(_response(200 if status == 101 else status, headers))
            if status == 101:
                await _pipe(stream, reader, writer)
            else:
                await _copy_body(stream, reader, headers)
            await stream.end()
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.url)
        port = parts.port or 80
        try:
            async with timeout(_CONNECT_TIMEOUT):
                return await asyncio.open_connection(parts.hostname, port, limit=_CHUNK)
        except (OSError, asyncio.TimeoutError) as error:
            reason = getattr(error, "strerror", None) or "i/o timeout"
            if isinstance(error, ConnectionRefusedError):
                reason = "connect: connection refused"
            raise OriginError(
                f"{_UNREACHABLE}: dial tcp {parts.hostname}:{port}: {reason}"
            ) from error


async def answer_error(stream: Stream, status: int) -> None:
    """Answer in the connector's own name."""
    meta = json.dumps({"src": "cloudflared"}, separators=(",", ":"))
    await stream.send_headers(
        [(":status", str(status)), ("cf-cloudflared-response-meta", meta)], end=True
    )


async def answer_json(stream: Stream, body: bytes) -> None:
    """Answer a request of the edge itself."""
    await stream.send_headers([(":status", "200")])
    await stream.write(body)
    await stream.end()


def _request_head(headers: dict[str, str], tag: str) -> bytes:
    own = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-Websocket-Version": "13",
        "Cf-Warp-Tag-Id": tag,
        "Accept-Encoding": headers.get("accept-encoding", "gzip"),
    }
    replaced = {name.lower() for name in own} | {UPGRADE_HEADER}
    lines = [
        f"GET {headers.get(':path') or '/'} HTTP/1.1",
        f"Host: {headers.get(':authority', '')}",
    ]
    for name, value in headers.items():
        if not name.startswith(":") and name not in replaced:
            lines.append(f"{name.title()}: {value}")
    lines += [f"{name}: {value}" for name, value in own.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _response_head(reader: asyncio.StreamReader) -> tuple[int, list[tuple[str, str]]]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise OriginError(f"{_UNREACHABLE}: EOF") from error
    if len(head) > _MAX_HEAD:
        raise OriginError(f"{_UNREACHABLE}: response headers exceeded {_MAX_HEAD} bytes")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise OriginError(f"{_UNREACHABLE}: malformed HTTP response")
    headers = [
        (name.strip(), value.strip()) for name, _, value in (x.partition(":") for x in lines)
    ]
    return int(rest[:3]), headers


def _response(status: int, headers: list[tuple[str, str]]) -> Headers:
    encoded = ";".join(f"{_unpadded(name)}:{_unpadded(value)}" for name, value in headers)
    return [
        (":status", str(status)),
        ("cf-cloudflared-response-headers", encoded),
        ("cf-cloudflared-response-meta", json.dumps({"src": "origin"}, separators=(",", ":"))),
    ]


def _unpadded(text: str) -> str:
    return base64.b64encode(text.encode("latin-1")).decode().rstrip("=")


async def _copy_body(
    stream: Stream, reader: asyncio.StreamReader, headers: list[tuple[str, str]]
) -> None:
    length = {name.lower(): value for name, value in headers}.get("content-length")
    left = int(length) if length else None
    while left is None or left > 0:
        data = await reader.read(min(_CHUNK, left) if left is not None else _CHUNK)
        if not data:
            break
        await stream.write(data)
        left = left - len(data) if left is not None else None


async def _pipe(stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def to_origin() -> None:
        while data := await stream.read():
            writer.write(data)
            await writer.drain()

    async def to_edge() -> None:
        while data := await reader.read(_CHUNK):
            await stream.write(data)

    tasks = [asyncio.create_task(to_origin()), asyncio.create_task(to_edge())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            # A reset by the origin ends the stream just as a close does.
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
