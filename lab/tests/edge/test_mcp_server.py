"""The MCP servers themselves, without a tunnel."""

from __future__ import annotations

import asyncio

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from lab.mcp.server import application

HOST = "echo.abcd1234.tunnel.anthropic.com"


def test_only_known_hosts_are_served() -> None:
    """DNS rebinding protection: an upstream behind a tunnel must know the tunnel's hosts."""

    async def statuses() -> list[int]:
        app = application("test", [HOST])
        async with app.router.lifespan_context(app):
            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://any") as client:
                return [
                    (await client.post("/mcp", json={}, headers=headers)).status_code
                    for headers in (
                        {"Host": "10.77.0.2:8000"},
                        {"Host": HOST, "Origin": "https://elsewhere.example"},
                        {"Host": HOST, "Origin": f"https://{HOST}", "Accept": "application/json"},
                    )
                ]

    refused, foreign, served = asyncio.run(statuses())
    assert (refused, foreign) == (421, 403)
    assert served not in (421, 403)


def test_progress_is_reported() -> None:
    async def run() -> tuple[list[float], str]:
        app = application("test", [HOST])
        seen: list[float] = []

        async def note(
            progress: float, total: float | None = None, message: str | None = None
        ) -> None:
            seen.append(progress)

        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as http,
            Client(streamable_http_client(f"http://{HOST}/mcp", http_client=http)) as client,
        ):
            arguments = {"to": 3, "seconds_apart": 0.01}
            result = await client.call_tool("count", arguments, progress_callback=note)
        return seen, str(result.structured_content)

    seen, answer = asyncio.run(run())
    assert seen == [1, 2, 3]
    assert "counted to 3" in answer
