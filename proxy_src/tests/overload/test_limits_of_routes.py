"""A route with limits under overload: its upstream gets no more than it may, others are served."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from clients import Client, closing_all, comes_to, others_are_served, rss
from running import running_proxy
from tunnelled import get
from upstreams import plain_answer, raw_upstream, read_head

CLIENTS = int(os.environ.get("OVERLOAD_CLIENTS", "300"))
MOST = 5
MIB = 1 << 20


class Upstream:
    """Answers ``GET /wait`` when the test says so, and everything else at once."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.here = 0
        self.peak = 0
        self.bytes = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line, fields = await read_head(reader)
            if line.startswith("GET /wait"):
                self.here += 1
                self.peak = max(self.peak, self.here)
                await self.go_on.wait()
                self.here -= 1
            elif "transfer-encoding" in fields:
                while data := await reader.read(MIB):
                    self.bytes += len(data)
                return
            writer.write(plain_answer(b"ok"))


async def test_more_requests_than_may_be_in_flight(tmp_path: Path) -> None:
    upstream = Upstream()
    async with raw_upstream(upstream.serve) as port:
        routes = dict.fromkeys(("echo", "other"), f"http://127.0.0.1:{port}")
        limits = {"max_connections": CLIENTS + 100}
        options = {"echo": {"max_in_flight": MOST}}
        async with running_proxy(tmp_path, routes, limits=limits, route_options=options) as proxy:
            context = proxy.client_tls("http/1.1")

            def ask(count: int) -> None:
                for _ in range(count):
                    clients.append(Client(proxy.port))
                    clients[-1].open_websocket()
                    clients[-1].open_tls(context)
                    clients[-1].send(get("echo", "/wait"))

            with closing_all() as clients:
                async with others_are_served(proxy, "other"):
                    await asyncio.to_thread(ask, MOST)
                    await comes_to(proxy, "mcp_proxy_requests_in_flight", MOST)
                    await asyncio.to_thread(ask, CLIENTS)
                    for client in clients[MOST:]:
                        first = await asyncio.to_thread(client.read)
                        assert first.startswith(b"HTTP/1.1 503 "), first
                        assert b'details="max_in_flight"' in first
                await comes_to(proxy, "mcp_proxy_requests_refused_total", CLIENTS)
                assert upstream.peak == MOST
                upstream.go_on.set()
                for client in clients[:MOST]:
                    assert (await asyncio.to_thread(client.read)).startswith(b"HTTP/1.1 200 ")
            await comes_to(proxy, "mcp_proxy_requests_in_flight", 0)


async def test_content_that_is_too_large(tmp_path: Path) -> None:
    """It costs neither memory nor the upstream's time, however much of it comes."""
    upstream = Upstream()
    async with raw_upstream(upstream.serve) as port:
        routes = dict.fromkeys(("echo", "other"), f"http://127.0.0.1:{port}")
        options = {"echo": {"max_body_bytes": MIB}}
        async with running_proxy(tmp_path, routes, route_options=options) as proxy:
            context = proxy.client_tls("http/1.1")
            head = get("echo", "/", "Transfer-Encoding: chunked").replace(b"GET", b"POST")
            chunk = b"%x\r\n%b\r\n" % (MIB // 4, bytes(MIB // 4))

            def upload() -> bytes:
                client = Client(proxy.port)
                clients.append(client)
                client.open_websocket()
                client.open_tls(context)
                client.send(head)
                for _ in range(5):
                    client.send(chunk)
                return client.read()

            with closing_all() as clients:
                async with others_are_served(proxy, "other"):
                    for _ in range(30):
                        got = await asyncio.to_thread(upload)
                        assert got.startswith(b"HTTP/1.1 413 "), got
                assert rss(proxy) < 150_000_000
            await comes_to(proxy, "mcp_proxy_requests_in_flight", 0)
            await comes_to(proxy, "mcp_proxy_requests_refused_total", 30)
            # The proxy hands on what it may, and some of a chunk's frame.
            assert upstream.bytes < 30 * (MIB + 4096)
