"""Servers that report how they read a stream of requests: the parsers of common upstreams.

Each answers every request with its description by :func:`described`, so that the bytes which the
proxy sent to one upstream can be shown to all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import h11
from running import PATIENCE
from upstreams import asgi_upstream, raw_upstream

_LAST = b"GET /last HTTP/1.1\r\nHost: judge\r\nConnection: close\r\n\r\n"
LAST = "GET /last "
"""The description of the request that :func:`readings` adds."""

_NODE = """
const http = require('http');
const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts).toString('hex');
    response.end(`<<${request.method} ${request.url} ${body}>>`);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""

_HAPROXY = """
global
    maxconn 100
defaults
    mode http
    timeout connect 60s
    timeout client 60s
    timeout server 60s
frontend judge
    bind fd@FD
    default_backend reader
backend reader
    server reader 127.0.0.1:PORT
"""


def described(method: str, target: str, body: bytes) -> str:
    """One request in a form that all judges can produce."""
    return f"{method} {target} {body.hex()}"


async def readings(port: int, data: bytes) -> list[str]:
    """Return how the judge at *port* describes the requests in *data*, and one more at the end.

    A judge that refuses a request describes neither that nor any later one.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data + _LAST)
        with contextlib.suppress(ConnectionError):
            data = await asyncio.wait_for(reader.read(), PATIENCE)
    finally:
        writer.transport.abort()
    return re.findall("<<(.*?)>>", data.decode("latin-1"))


@contextlib.asynccontextmanager
async def judges() -> AsyncIterator[dict[str, int]]:
    """Start all judges; yields their ports."""
    async with contextlib.AsyncExitStack() as stack:
        h11_port = await stack.enter_async_context(raw_upstream(read_with_h11()))
        yield {
            "h11": h11_port,
            "uvicorn": await stack.enter_async_context(asgi_upstream(_asgi, http="httptools")),
            "http.server": stack.enter_context(_http_server()),
            "node": await stack.enter_async_context(_node()),
            "haproxy": await stack.enter_async_context(_haproxy(h11_port)),
        }


def read_with_h11(
    seen: Callable[[asyncio.StreamWriter], Callable[[bytes], None]] = lambda writer: (
        lambda data: None
    ),
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A handler for ``raw_upstream``; *seen* makes the function that takes a connection's bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        note = seen(writer)
        connection = h11.Connection(h11.SERVER)
        request, body = None, b""
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError:
                return
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    interim = h11.InformationalResponse(status_code=100, headers=[])
                    writer.write(connection.send(interim) or b"")
                data = await reader.read(1 << 16)
                note(data)
                connection.receive_data(data)
            elif isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                method, target = request.method.decode("latin-1"), request.target.decode("latin-1")
                text = f"<<{described(method, target, body)}>>".encode("latin-1")
                fields = [("Content-Length", str(len(text)))]
                for part in (
                    h11.Response(status_code=200, headers=fields),
                    h11.Data(data=b"" if method == "HEAD" else text),
                    h11.EndOfMessage(),
                ):
                    writer.write(connection.send(part) or b"")
                if connection.our_state is not h11.DONE:
                    return
                connection.start_next_cycle()
            else:
                return

    return serve


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    target = scope["raw_path"].decode("latin-1")
    if scope["query_string"]:
        target += "?" + scope["query_string"].decode("latin-1")
    text = f"<<{described(scope['method'], target, body)}>>".encode("latin-1")
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


class _Handler(BaseHTTPRequestHandler):
    """Works out lengths by itself, as every application on ``http.server`` has to."""

    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        if self.headers.get("Transfer-Encoding"):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        text = f"<<{described(self.command, self.path, body)}>>".encode("latin-1")
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else text)

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@contextlib.contextmanager
def _http_server() -> Any:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.asynccontextmanager
async def _node() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        "node", "-e", _NODE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def _haproxy(reader_port: int) -> AsyncIterator[int]:
    # It gets a socket that already listens, so there is nothing to wait for.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        text = _HAPROXY.replace("FD", str(listener.fileno())).replace("PORT", str(reader_port))
        with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
            file.write(text)
            file.flush()
            process = await asyncio.create_subprocess_exec(
                "haproxy", "-q", "-db", "-f", file.name, pass_fds=[listener.fileno()]
            )
            try:
                yield listener.getsockname()[1]
            finally:
                process.kill()
                await process.wait()
