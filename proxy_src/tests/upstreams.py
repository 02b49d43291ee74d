"""Upstream servers for tests: one that misbehaves as a test says, and an ASGI one on uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from mcp_proxy.config.model import METHODS
from pki import Authority, client_pair

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_upstream(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that runs *handler* for each connection; yields its port.

    A connection is closed after its handler: once everything written has been taken, or at once if
    the handler failed.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()  # no effect on one that is closed; TLS may wait for its peer
            tasks.discard(task)

    # What a slow client has not taken yet would be lost after 30 seconds.
    patient = {"ssl_shutdown_timeout": 240} if tls else {}
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, **patient)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        await server.wait_closed()


@contextlib.contextmanager
def nobodys_port() -> Iterator[int]:
    """A port at which nobody listens, and that the kernel gives to nobody.

    A server can listen there meanwhile if it asks for ``SO_REUSEADDR``, as nearly all do.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """The request line, and the header fields with lower-case names."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head[:-4].split("\r\n")
    pairs = (field.split(":", 1) for field in fields)
    return line, {name.lower(): value.strip() for name, value in pairs}


def plain_answer(body: bytes, *fields: bytes) -> bytes:
    """A complete 200 response."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (lines, len(body), body)


@contextlib.asynccontextmanager
async def asgi_upstream(app: Any, **settings: Any) -> AsyncIterator[int]:
    """Run the ASGI application *app* on uvicorn in this event loop; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    # It closes no connection on which a request may be on its way.
    settings = {"timeout_keep_alive": 3600, **settings}
    config = uvicorn.Config(app, log_level="error", lifespan="off", **settings)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        server.force_exit = True
        await task
        listener.close()


def all_options(home: Path) -> tuple[ssl.SSLContext, dict[str, Any]]:
    """TLS for an upstream that demands a certificate, and all options of its route but ``paths``.

    They refuse nothing but ``CONNECT`` and what asks for another method. The files are in *home*.
    """
    authority = Authority()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("mcp.lan").write(home / "upstream"))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(cadata=authority.cert.decode())
    cert, key = client_pair(authority).write(home / "client")
    (home / "ca.pem").write_bytes(authority.cert)
    return tls, {
        "methods": sorted(name.decode() for name in METHODS - {b"CONNECT"}),
        "max_body_bytes": 1 << 32,
        "max_in_flight": 1000,
        "rate": "100000/s",
        "rewrite_host": True,
        "timeouts": {"idle": "10m", "upstream_gone": "2m"},
        "spread": True,
        "client_cert": cert,
        "client_key": key,
        "ca_file": str(home / "ca.pem"),
        "server_name": "mcp.lan",
    }
