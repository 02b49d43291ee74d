"""Clients that go through the tunnel: curl, httpx, and one that works byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
from bridge import TunnelBridge
from running import DOMAIN, PATIENCE, RunningProxy

VERSIONS = ("1.1", "2")


async def curl(proxy: RunningProxy, url: str, *options: str, version: str = "1.1") -> str:
    """Return curl's output for *url* (``route/path``); fail with its message if it fails."""
    route, _, path = url.partition("/")
    async with TunnelBridge(proxy.port) as port:
        process = await asyncio.create_subprocess_exec(
            "curl",
            *("-sS", "--max-time", "240", "--cacert", str(proxy.ca_file)),
            "--http2" if version == "2" else "--http1.1",
            *("--connect-to", f"::127.0.0.1:{port}", *options),
            f"https://{route}.{DOMAIN}/{path}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert process.returncode == 0, f"{err.decode()}\n{proxy.transcript()}"
    return out.decode()


@contextlib.asynccontextmanager
async def client(proxy: RunningProxy, version: str = "1.1", **options: Any) -> AsyncIterator[Any]:
    """An httpx client for URLs like ``https://route.t.example/``, with one connection pool."""
    async with TunnelBridge(proxy.port) as port:
        transport = _ThroughBridge(port, proxy, version)
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE, **options) as made:
            yield made


class _ThroughBridge(httpx.AsyncHTTPTransport):
    """Connects to the bridge for any host of a URL, and verifies that host's certificate."""

    def __init__(self, port: int, proxy: RunningProxy, version: str) -> None:
        super().__init__(verify=proxy.client_tls(), http1=version == "1.1", http2=version == "2")
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = request.url.host
        request.headers.setdefault("Host", request.url.host)
        request.url = request.url.copy_with(host="127.0.0.1", port=self._port)
        return await super().handle_async_request(request)


@contextlib.asynccontextmanager
async def raw_client(
    proxy: RunningProxy, route: str = "echo", *alpn: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A TLS connection to the proxy on which the test writes HTTP by itself."""
    async with TunnelBridge(proxy.port) as port:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            port,
            ssl=proxy.client_tls(*alpn),
            server_hostname=f"{route}.{DOMAIN}",
        )
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


def get(route: str = "echo", path: str = "/", *fields: str) -> bytes:
    """A GET request for *route*."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {route}.{DOMAIN}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read one response with a Content-Length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head[:-4].split("\r\n")
    fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return int(first.split()[1]), fields, body
