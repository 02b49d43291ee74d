"""Proxy-Status (RFC 9209): on every answer of the proxy itself, with the type of its error."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from name_server import Reply, name_server
from namespace import Namespace, own_network
from running import SOON, RunningProxy, proxied, running_proxy
from test_upstreams import POST, deaf_port, secure_server
from tunnelled import VERSIONS, answer, curl, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head

__all__ = ["deaf_port"]  # a fixture

ANSWERS = {
    "connection_terminated": b"RESET",
    "http_response_incomplete": b"HTTP/1.1 200 OK\r\nConten",
    "http_protocol_error": b"nonsense\r\n\r\n",
    "http_response_header_section_size": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
    "http_response_transfer_coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "http_upgrade_failed": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
}
#: The kernel's routes to an address (ip-route(8)), and the error that they cause.
ROUTES = {
    "": "destination_ip_unroutable",  # there is none: ENETUNREACH
    "unreachable": "destination_ip_unroutable",  # EHOSTUNREACH
    "prohibit": "destination_unavailable",  # EACCES
}
FAR = "10.0.0.5"
DIALS = {
    "destination_ip_prohibited": "http://169.254.169.254:80",
    "connection_refused": "http://127.0.0.1:1",
    "dns_error": "http://name.invalid:80",
}


async def told(proxy: RunningProxy, url: str = "echo/", version: str = "1.1", *more: str) -> str:
    """The status and the field of an answer, as curl sees them."""
    shown = "%{http_code} %header{proxy-status}"
    return await curl(proxy, url, "-o", os.devnull, "-w", shown, *more, version=version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("error", DIALS)
async def test_of_a_connection_that_is_not_made(tmp_path: Path, error: str, version: str) -> None:
    async with running_proxy(tmp_path, {"echo": DIALS[error]}) as proxy:
        assert await told(proxy, version=version) == f"502 mcp-proxy; error={error}"
        assert await told(proxy, "other/", version) == "502 mcp-proxy; error=destination_not_found"


async def test_of_a_connection_that_is_not_made_in_time(tmp_path: Path, deaf_port: int) -> None:
    routes = {"echo": f"http://127.0.0.1:{deaf_port}"}
    async with running_proxy(tmp_path, routes, timeouts={"connect": "300ms"}) as proxy:
        assert await told(proxy) == "504 mcp-proxy; error=connection_timeout"


@pytest.fixture
def network() -> Iterator[Namespace]:
    with own_network() as made:
        yield made


@pytest.mark.parametrize("route", ROUTES)
async def test_of_an_address_that_the_kernel_refuses(
    network: Namespace, tmp_path: Path, route: str
) -> None:
    if route:
        network.refuse(FAR, route)
    policy = {"allowed_ips": [f"{FAR}/32"]}
    async with running_proxy(tmp_path, {"echo": f"http://{FAR}:80"}, upstream=policy) as proxy:
        assert await told(proxy) == f"502 mcp-proxy; error={ROUTES[route]}"


async def test_of_a_connection_that_is_reset_at_once(network: Namespace, tmp_path: Path) -> None:
    """The upstream's machine accepts it and resets it before anything is sent."""

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_upstream(upstream) as port:
        network.reset(port)
        async with running_proxy(tmp_path, {"echo": f"http://127.0.0.1:{port}"}) as proxy:
            assert await told(proxy) == "502 mcp-proxy; error=connection_terminated"


async def test_of_a_name_server_that_is_silent(network: Namespace, tmp_path: Path) -> None:
    through = network.resolver(tmp_path, "127.0.0.1 localhost\n")
    routes, timeouts = {"echo": "http://stuck.test:80"}, {"connect": "300ms"}
    async with (
        name_server({"stuck.test": [Reply(silent=True)]}),
        running_proxy(tmp_path, routes, through=through, timeouts=timeouts) as proxy,
    ):
        assert await told(proxy) == "504 mcp-proxy; error=dns_timeout"


@pytest.mark.parametrize("error", ANSWERS)
async def test_of_no_valid_answer(tmp_path: Path, error: str) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        if ANSWERS[error] == b"RESET":
            linger = struct.pack("ii", 1, 0)  # socket(7): closed with RST
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return
        writer.write(ANSWERS[error])

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        assert await told(proxy) == f"502 mcp-proxy; error={error}"


async def test_of_tls_with_a_certificate_of_somebody(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain_answer(b"never"))

    tls, policy = secure_server(tmp_path / "up")
    async with raw_upstream(upstream, tls) as port:
        routes = {"echo": f"https://127.0.0.1:{port}"}  # the certificate's name is localhost
        async with running_proxy(tmp_path, routes, upstream=policy) as proxy:
            assert await told(proxy) == "502 mcp-proxy; error=tls_certificate_error"


async def test_of_tls_that_the_upstream_refuses(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x15\x03\x03\0\x02\x02\x28")  # RFC 8446 §6: fatal, handshake_failure
        await reader.read()

    _tls, policy = secure_server(tmp_path / "up")
    async with raw_upstream(upstream) as port:
        routes = {"echo": f"https://localhost:{port}"}
        async with running_proxy(tmp_path, routes, upstream=policy) as proxy:
            assert await told(proxy) == "502 mcp-proxy; error=tls_alert_received"


async def test_of_tls_where_there_is_none(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    _tls, policy = secure_server(tmp_path / "up")
    async with raw_upstream(upstream) as port:
        routes = {"echo": f"https://localhost:{port}"}
        async with running_proxy(tmp_path, routes, upstream=policy) as proxy:
            assert await told(proxy) == "502 mcp-proxy; error=tls_protocol_error"


async def test_of_content_that_does_not_come(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with proxied(tmp_path, raw_upstream(upstream), timeouts={"idle": SOON}) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(POST[:-2])
            status, fields, _body = await answer(reader)
            assert (status, fields["proxy-status"]) == (408, "mcp-proxy; error=http_request_error")


async def test_of_content_that_is_not_taken(tmp_path: Path) -> None:
    done = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()

    large = tmp_path / "large"
    large.touch()
    os.truncate(large, 50 << 20)
    async with proxied(tmp_path, raw_upstream(upstream), timeouts={"idle": SOON}) as proxy:
        seen = await told(proxy, "echo/", "1.1", "-T", str(large), "-H", "Expect:")
        assert seen == "504 mcp-proxy; error=connection_write_timeout"
        done.set()


@pytest.mark.parametrize(
    ("request_line", "status", "error"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400, "http_request_error"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000, 431, "http_request_error"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a", 501, "proxy_internal_response"),
    ],
)
async def test_of_a_request_that_cannot_be_passed_on(
    tmp_path: Path, request_line: bytes, status: int, error: str
) -> None:
    async with running_proxy(tmp_path, {"echo": "http://127.0.0.1:1"}) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(request_line + b"\r\n\r\n")
            seen, fields, _body = await answer(reader)
            assert (seen, fields["proxy-status"]) == (status, f"mcp-proxy; error={error}")


async def test_of_a_bad_request_in_http2(tmp_path: Path) -> None:
    async with running_proxy(tmp_path, {"echo": "http://127.0.0.1:1"}) as proxy:
        seen = await told(proxy, "echo/", "2", "-X", "NONSENSE")
        assert seen == "400 mcp-proxy; error=http_request_error"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("status", [b"200 OK", b"502 Bad Gateway"])
async def test_an_answer_of_the_upstream_has_none(
    tmp_path: Path, status: bytes, version: str
) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        assert await told(proxy, version=version) == f"{status[:3].decode()} "
        # The connection that is kept fails at the next request: GET is sent once more.
        async with raw_client(proxy) as (reader, writer):
            writer.write(get("echo"))
            assert "proxy-status" not in (await answer(reader))[1]
