"""The MCP client of the Python package ``mcp``, through WebSocket and inner TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from bridge import TunnelBridge
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp_upstream import RESOURCE_METADATA, McpUpstream, mcp_upstream
from running import DOMAIN, PATIENCE, RunningProxy, running_proxy

HOST = f"echo.{DOMAIN}"


class WholePath:
    """A whole path: client side of the bridge, proxy, MCP server."""

    def __init__(self, port: int, proxy: RunningProxy, upstream: McpUpstream) -> None:
        self.base = f"https://{HOST}:{port}"
        self.proxy = proxy
        self.upstream = upstream

    def http(self, http2: bool = False, **options: Any) -> httpx2.AsyncClient:
        """An HTTP client that trusts the tunnel's CA."""
        alpn = ("h2", "http/1.1") if http2 else ("http/1.1",)
        return httpx2.AsyncClient(
            verify=self.proxy.client_tls(*alpn), http2=http2, http1=not http2, **options
        )

    @contextlib.asynccontextmanager
    async def client(self, mode: str, http2: bool) -> AsyncIterator[Client]:
        """The MCP client over streamable HTTP; *mode* chooses the protocol revision."""
        async with self.http(http2, timeout=PATIENCE) as http:
            transport = streamable_http_client(f"{self.base}/mcp", http_client=http)
            async with Client(transport, mode=mode, read_timeout_seconds=PATIENCE) as client:
                yield client

    @contextlib.asynccontextmanager
    async def sse(self, http2: bool) -> AsyncIterator[Client]:
        """The MCP client over SSE."""

        def factory(**options: Any) -> httpx2.AsyncClient:
            return self.http(http2, **options)

        transport = sse_client(f"{self.base}/sse", httpx_client_factory=factory)
        async with Client(transport, mode="legacy", read_timeout_seconds=PATIENCE) as client:
            yield client


@contextlib.asynccontextmanager
async def whole_path(home: Path, *allowed_hosts: str, **settings: Any) -> AsyncIterator[WholePath]:
    async with (
        mcp_upstream(*allowed_hosts) as upstream,
        running_proxy(home, {"echo": upstream.url}, **settings) as proxy,
        TunnelBridge(proxy.port) as port,
    ):
        yield WholePath(port, proxy, upstream)


@pytest.fixture(autouse=True)
def _names_lead_to_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if name == HOST else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest_asyncio.fixture
async def path(tmp_path: Path) -> AsyncIterator[WholePath]:
    async with whole_path(tmp_path, f"{HOST}:*", HOST) as whole:
        yield whole


http_versions = pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
revisions = pytest.mark.parametrize(
    ("mode", "revision"),
    [("legacy", "2025-11-25"), ("2026-07-28", "2026-07-28"), ("auto", "2026-07-28")],
)


def text_of(result: Any) -> str:
    assert not result.is_error, result
    return str(result.content[0].text)


async def test_method_and_tool_are_counted_and_logged(tmp_path: Path) -> None:
    """As the client of the newer revision says them; that of the older one says nothing."""
    async with whole_path(tmp_path, f"{HOST}:*", HOST, mcp_tools=["echo"]) as path:
        for mode in ("legacy", "2026-07-28"):
            async with path.client(mode, http2=True) as client:
                await client.list_tools()
                assert text_of(await client.call_tool("echo", {"text": "a"})) == "a"
                await client.call_tool("release", {})
        line = await path.proxy.logged("request finished", mcp_method="tools/call")
        assert line["mcp_tool"] == "echo"
        await path.proxy.logged("request finished", mcp_method="tools/call", mcp_tool="other")
        for method, tool in (("tools/list", ""), ("tools/call", "echo"), ("tools/call", "other")):
            labels = f'{{method="{method}",route="echo",tool="{tool}"}}'
            await path.proxy.shows(f"mcp_proxy_mcp_requests_total{labels} 1.0")


@http_versions
@revisions
async def test_streamable_http(path: WholePath, mode: str, revision: str, http2: bool) -> None:
    async with path.client(mode, http2) as client:
        assert client.protocol_version == revision
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == {"echo", "meet", "release", "steps"}
        text = "häuser " * 10_000
        assert text_of(await client.call_tool("echo", {"text": text})) == text
    for head in path.upstream.headers_of("POST", "/mcp"):
        assert head["x-forwarded-proto"] == "https"
        assert head["host"].split(":")[0] == HOST


@http_versions
async def test_sse(path: WholePath, http2: bool) -> None:
    async with path.sse(http2) as client:
        assert text_of(await client.call_tool("echo", {"text": "hello"})) == "hello"


@http_versions
@pytest.mark.parametrize("transport", ["legacy", "2026-07-28", "sse"])
async def test_an_event_leaves_as_soon_as_it_arrives(
    path: WholePath, transport: str, http2: bool
) -> None:
    """The server goes on only after the client has seen its last step: a buffer would hang."""
    opened = path.sse(http2) if transport == "sse" else path.client(transport, http2)
    # The releases use their own connection: with three open streams on one HTTP/2 connection,
    # httpx2 holds back a response that it has already read until the next bytes come in.
    async with opened as client, path.client("2026-07-28", http2=False) as other:
        seen: asyncio.Queue[float] = asyncio.Queue()

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            seen.put_nowait(progress)

        call = client.call_tool("steps", {"count": 5}, progress_callback=on_progress)
        steps = asyncio.ensure_future(asyncio.wait_for(call, PATIENCE))
        for number in range(1, 6):
            assert await asyncio.wait_for(seen.get(), PATIENCE) == number
            released = await asyncio.wait_for(other.call_tool("release", {}), PATIENCE)
            assert text_of(released) == "released"
        assert text_of(await steps) == "5 steps"


async def test_the_session_and_its_headers_pass_through(path: WholePath) -> None:
    async with path.client("legacy", http2=False) as client:
        await client.call_tool("echo", {"text": "x"})
    posts = path.upstream.headers_of("POST", "/mcp")
    session = posts[-1]["mcp-session-id"]
    assert posts[-1]["mcp-protocol-version"] == "2025-11-25"
    (end,) = path.upstream.headers_of("DELETE", "/mcp")
    assert end["mcp-session-id"] == session


async def test_last_event_id_and_challenges_pass_through(path: WholePath) -> None:
    async with path.http() as http:
        answer = await http.get(f"{path.base}/private?a=%2F&b", headers={"Last-Event-ID": "a b/7"})
    assert answer.status_code == 401
    challenge = f'Bearer resource_metadata="{RESOURCE_METADATA}", error="invalid_token"'
    assert answer.headers["WWW-Authenticate"] == challenge
    (head,) = path.upstream.headers_of("GET", "/private")
    assert head["last-event-id"] == "a b/7"


@http_versions
async def test_a_hundred_calls_at_once(path: WholePath, http2: bool) -> None:
    """All have to be at the server at the same time before any of them returns."""
    async with path.client("2026-07-28", http2) as client:
        calls = [client.call_tool("meet", {"people": 100}) for _ in range(100)]
        results = await asyncio.wait_for(asyncio.gather(*calls), 60)
    assert [text_of(result) for result in results] == ["met"] * 100


async def test_a_server_that_knows_only_loopback_needs_rewrite_host(tmp_path: Path) -> None:
    """The MCP package's protection against DNS rebinding, at its default, and the two ways out."""
    for rewrite, status in ((False, 421), (True, 200)):
        home = tmp_path / str(rewrite)
        home.mkdir()
        settings = {"upstream": {"allowed_ips": ["127.0.0.0/8"], "rewrite_host": rewrite}}
        async with whole_path(home, **settings) as path:
            async with path.http() as http:
                probe = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
                accept = {"Accept": "application/json, text/event-stream"}
                answer = await http.post(f"{path.base}/mcp", json=probe, headers=accept)
                assert (answer.status_code == 421) == (status == 421), answer.text
            if rewrite:
                async with path.client("auto", http2=False) as client:
                    assert text_of(await client.call_tool("echo", {"text": "x"})) == "x"
                assert path.upstream.requests[-1][2]["x-forwarded-host"].split(":")[0] == HOST
