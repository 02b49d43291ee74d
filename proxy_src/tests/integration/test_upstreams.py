"""Upstreams that close, fail, or do not answer; and which requests may be sent a second time."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from h2.connection import H2Connection
from pki import Authority
from running import DOMAIN, KEPT, PATIENCE, SOON, proxied, running_proxy
from tunnelled import VERSIONS, answer, client, curl, get, raw_client
from upstreams import nobodys_port, plain_answer, raw_upstream, read_head

POST = get("echo", "/", "Content-Length: 4").replace(b"GET", b"POST") + b"once"

EMPTY_POST = get("echo", "/", "Content-Length: 0").replace(b"GET", b"POST")


class Forgetful:
    """Answers the first request of each connection, reads the second one and closes without a word.

    An upstream does so if its idle timeout ends while a request is on its way to it.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self._take(reader)
        writer.write(plain_answer(b"%d" % self.connections))
        if self.connections == 1:
            await self._take(reader)
        else:
            await reader.read()

    async def _take(self, reader: asyncio.StreamReader) -> None:
        line, fields = await read_head(reader)
        await reader.readexactly(int(fields.get("content-length", "0")))
        self.requests.append(line.split()[0])


async def test_an_idempotent_request_is_sent_again(tmp_path: Path) -> None:
    upstream = Forgetful()
    async with proxied(tmp_path, raw_upstream(upstream), timeouts=KEPT) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get())
            assert (await answer(reader))[2] == b"1"
            writer.write(get())
            assert (await answer(reader))[2] == b"2"
    assert upstream.requests == ["GET", "GET", "GET"]
    assert upstream.connections == 2


@pytest.mark.parametrize("post", [POST, EMPTY_POST], ids=["content", "none"])
async def test_a_post_is_never_sent_twice(tmp_path: Path, post: bytes) -> None:
    upstream = Forgetful()
    async with proxied(tmp_path, raw_upstream(upstream), timeouts=KEPT) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get())
            assert (await answer(reader))[2] == b"1"
            writer.write(post)
            assert (await answer(reader))[0] == 502
            line = await proxy.logged("request finished", status=502, method="POST")
            assert "closed before the response" in line["error"]
    assert upstream.requests == ["GET", "POST"]


async def test_a_put_with_content_is_not_sent_again(tmp_path: Path) -> None:
    upstream = Forgetful()
    async with proxied(tmp_path, raw_upstream(upstream), timeouts=KEPT) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get())
            await answer(reader)
            writer.write(POST.replace(b"POST", b"PUT"))
            assert (await answer(reader))[0] == 502
    assert upstream.requests == ["GET", "PUT"]


async def test_a_connection_known_to_be_closed_is_not_used(tmp_path: Path) -> None:
    """Even a POST goes through: nothing of it was written to the closed connection."""
    requests: list[str] = []
    closed = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await read_head(reader))[0].split()[0])
        writer.write(plain_answer(b"fine"))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            for _ in range(20):
                closed.clear()
                writer.write(POST)
                assert (await answer(reader))[::2] == (200, b"fine")
                await closed.wait()
    assert requests == ["POST"] * 20


async def test_connections_are_kept_and_used_again(tmp_path: Path) -> None:
    connections = 0

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            _, fields = await read_head(reader)
            await reader.readexactly(int(fields.get("content-length", "0")))
            writer.write(plain_answer(b"ok"))

    async with proxied(tmp_path, raw_upstream(upstream), timeouts=KEPT) as proxy:
        for version in VERSIONS:
            async with client(proxy, version) as http:
                for _ in range(5):
                    reply = await http.post(f"https://echo.{DOMAIN}/", content=b"abc")
                    assert reply.text == "ok"
    assert connections == 1


async def test_an_idle_connection_is_closed_in_time(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(plain_answer(b"ok"))
        assert await reader.read() == b""
        closed.set()

    timeouts = {"upstream_idle": "200ms"}
    async with proxied(tmp_path, raw_upstream(upstream), timeouts=timeouts) as proxy:
        assert await curl(proxy, "echo/") == "ok"
        await asyncio.wait_for(closed.wait(), PATIENCE)


ANSWERS = {
    "closes": b"",
    "garbage": b"nonsense\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nConten",
    "both lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "switches": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
}


@pytest.mark.parametrize("data", ANSWERS.values(), ids=list(ANSWERS))
async def test_no_valid_answer_is_a_502(tmp_path: Path, data: bytes) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(data)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        out = await curl(proxy, "echo/", "-w", "%{http_code}")
        assert out == "Upstream closed the connection or sent no valid answer\n502"
        await proxy.logged("upstream failed", route="echo")


async def test_a_refused_connection_is_a_502(tmp_path: Path) -> None:
    with nobodys_port() as port:
        async with running_proxy(tmp_path, {"echo": f"http://127.0.0.1:{port}"}) as proxy:
            out = await curl(proxy, "echo/", "-w", "%{http_code}")
            assert out == "Upstream refused the connection\n502"
            await proxy.logged("refused by 127.0.0.1", route="echo")


@pytest.fixture
async def deaf_port() -> AsyncIterator[int]:
    """A port that completes no connection: its backlog is full."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            yield port


async def test_no_connection_in_time_is_a_504(tmp_path: Path, deaf_port: int) -> None:
    routes = {"echo": f"http://127.0.0.1:{deaf_port}"}
    async with running_proxy(tmp_path, routes, timeouts={"connect": "300ms"}) as proxy:
        out = await curl(proxy, "echo/", "-w", "%{http_code}")
        assert out == "Upstream did not accept the connection in time\n504"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_response_cut_short_is_seen_as_such(tmp_path: Path, version: str) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await writer.drain()

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        with pytest.raises(AssertionError, match=r"transfer closed|not closed cleanly|HTTP/2|SSL"):
            await curl(proxy, "echo/", version=version)
        await proxy.logged("request finished", status=200)


def secure_server(home: Path) -> tuple[ssl.SSLContext, dict[str, Any]]:
    """TLS for an upstream named ``localhost``, and the settings of a proxy that trusts it."""
    home.mkdir()
    authority = Authority("upstream CA")
    cert, key = authority.issue("localhost").write(home)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    (home / "ca.crt").write_bytes(authority.cert)
    tls = {"ca_file": str(home / "ca.crt")}
    return context, {"allowed_ips": ["127.0.0.0/8"], "tls": tls}


@pytest.mark.parametrize("tls", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_much_in_both_directions_over_https(tmp_path: Path, version: str, tls: str) -> None:
    """The upstream closes once it has sent all; a slow client still waits for much of it."""
    size = 12 << 20
    content = os.urandom(1 << 16) * (size >> 16)
    got = hashlib.sha256()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        for _ in range(size >> 16):
            got.update(await reader.readexactly(1 << 16))
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + content)
        await writer.drain()

    large = tmp_path / "large"
    large.write_bytes(content)
    context, policy = secure_server(tmp_path / "up")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[tls]
    async with raw_upstream(upstream, context) as port:
        routes = {"echo": f"https://localhost:{port}"}
        async with running_proxy(tmp_path, routes, upstream=policy) as proxy:
            options = ("-T", str(large), "-H", "Expect:", "-o", str(tmp_path / "back"))
            await curl(proxy, "echo/", *options, "--limit-rate", "24M", version=version)
    assert got.digest() == hashlib.sha256(content).digest()
    assert (tmp_path / "back").read_bytes() == content


async def test_an_answer_before_the_end_of_the_request(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
        await reader.read()

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(POST[:-2])
            assert (await answer(reader))[::2] == (401, b"no")
            writer.write(POST[-2:] + POST)  # the connection is still good
            assert (await answer(reader))[0] == 401


async def test_content_that_does_not_come_is_a_408(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with proxied(tmp_path, raw_upstream(upstream), timeouts={"idle": SOON}) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(POST[:-2])
            assert (await answer(reader))[0] == 408


async def test_a_silent_stream_is_not_cut_by_the_idle_timeout(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await asyncio.sleep(5)  # longer than SOON
        writer.write(b"b")

    timeouts = {"idle": SOON, "upstream_idle": "100ms"}
    async with proxied(tmp_path, raw_upstream(upstream), timeouts=timeouts) as proxy:
        assert await curl(proxy, "echo/") == "ab"


@pytest.mark.parametrize("size", [1 << 20, 4 << 20])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_answer_before_the_content_is_delivered(
    tmp_path: Path, scheme: str, version: str, size: int
) -> None:
    """The upstream closes with the content unread, so that the kernel resets the connection."""

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")

    large = tmp_path / "large"
    large.touch()
    os.truncate(large, size)
    tls, policy = secure_server(tmp_path / "up")
    async with raw_upstream(upstream, tls if scheme == "https" else None) as port:
        routes = {"echo": f"{scheme}://localhost:{port}"}
        async with running_proxy(tmp_path, routes, upstream=policy) as proxy:
            options = ("-T", str(large), "-H", "Expect:", "-w", "%{http_code}")
            for _ in range(20):
                got = await curl(proxy, "echo/", *options, version=version)
                assert got == "big413", proxy.transcript()


async def test_an_upstream_that_takes_no_content_is_a_504(tmp_path: Path) -> None:
    done = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()

    async with proxied(tmp_path, raw_upstream(upstream), timeouts={"idle": SOON}) as proxy:
        large = tmp_path / "large"
        large.touch()
        os.truncate(large, 50 << 20)
        out = await curl(proxy, "echo/", "-T", str(large), "-H", "Expect:", "-w", "%{http_code}")
        assert out == "Upstream does not take the request\n504"
        done.set()


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_a_client_that_takes_no_content_is_cut(tmp_path: Path, alpn: str) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(1 << 20))
            await writer.drain()

    async with proxied(tmp_path, raw_upstream(upstream), timeouts={"idle": SOON}) as proxy:
        async with raw_client(proxy, "echo", alpn) as (_, writer):
            if alpn == "h2":
                h2 = H2Connection()
                h2.initiate_connection()
                h2.send_headers(
                    1,
                    [
                        (":method", "GET"),
                        (":scheme", "https"),
                        (":authority", f"echo.{DOMAIN}"),
                        (":path", "/"),
                    ],
                    end_stream=True,
                )
                writer.write(h2.data_to_send())
            else:
                writer.write(get())
            line = await proxy.logged("request finished", status=200)
            assert "stalled" in line["error"]
