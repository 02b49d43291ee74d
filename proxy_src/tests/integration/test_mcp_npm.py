"""The npm MCP client ``@modelcontextprotocol/sdk``, through WebSocket and inner TLS."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bridge import TunnelBridge
from mcp_upstream import McpUpstream, mcp_upstream
from running import DOMAIN, PATIENCE, RunningProxy, running_proxy

HOST = f"echo.{DOMAIN}"
ROOT = Path(__file__).parents[3]
MODULES = ROOT / ".build/npm/node_modules"
CLIENT = ROOT / "lab/mcp/client.cjs"


class Judge:
    """Runs the client's command against the proxy."""

    def __init__(self, port: int, proxy: RunningProxy, upstream: McpUpstream) -> None:
        self._port = port
        self._proxy = proxy
        self.upstream = upstream

    async def call(self, kind: str, tool: str, arguments: Any, *rest: str) -> list[dict[str, Any]]:
        """Return the lines of JSON that the command prints; fail unless it ends well."""
        assert MODULES.is_dir(), "the npm client is not installed: run tools/bootstrap"
        where = f"https://{HOST}:{self._port}/{'mcp' if kind == 'http' else 'sse'}"
        process = await asyncio.create_subprocess_exec(
            *("node", str(CLIENT), where, kind, tool, json.dumps(arguments), *rest),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "NODE_PATH": str(MODULES),
                "NODE_EXTRA_CA_CERTS": str(self._proxy.ca_file),
                "MCP_CONNECT_TO": "127.0.0.1",
            },
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode == 0, out.decode() + err.decode() + self._proxy.transcript()
        return [json.loads(line) for line in out.splitlines()]


@pytest_asyncio.fixture
async def judge(tmp_path: Path) -> AsyncIterator[Judge]:
    async with (
        mcp_upstream(f"{HOST}:*", HOST) as upstream,
        running_proxy(tmp_path, {"echo": upstream.url}) as proxy,
        TunnelBridge(proxy.port) as port,
    ):
        yield Judge(port, proxy, upstream)


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_tool_is_called(judge: Judge, kind: str) -> None:
    connected, tools, result = await judge.call(kind, "echo", {"text": "grüße\n"})
    assert connected == {"event": "connected", "server": "upstream"}
    assert tools["names"] == ["echo", "meet", "release", "steps"]
    assert result["isError"] is False
    assert result["content"] == [{"type": "text", "text": "grüße\n"}]
    (last, *_) = judge.upstream.headers_of("POST", "/mcp" if kind == "http" else "/messages/")[::-1]
    assert last["mcp-protocol-version"] == "2025-11-25"


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_an_event_leaves_as_soon_as_it_arrives(judge: Judge, kind: str) -> None:
    """The server goes on only after the client has seen its last step: a buffer would hang."""
    events = await judge.call(kind, "steps", {"count": 4}, "release")
    assert [event["progress"] for event in events if event["event"] == "progress"] == [1, 2, 3, 4]
    assert events[-1]["content"][0]["text"] == "4 steps"


async def test_the_session_is_ended(judge: Judge) -> None:
    judge.upstream.holds_ends = True
    await judge.call("http", "echo", {"text": "x"})
    (end,) = judge.upstream.headers_of("DELETE", "/mcp")
    posts = judge.upstream.headers_of("POST", "/mcp")
    assert end["mcp-session-id"] == posts[-1]["mcp-session-id"]
    # The client keeps a stream open for messages of the server.
    assert judge.upstream.headers_of("GET", "/mcp")
