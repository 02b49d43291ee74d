"""The tools that the laboratory's MCP servers offer.

The `mcp` package refuses requests whose Host or Origin it does not know (DNS rebinding
protection). Behind a tunnel an upstream sees the tunnel's host names, so it must be told them:
`hosts` here. The alternative is to let the proxy rewrite Host (`proxy_rewrite_host`).
"""

from __future__ import annotations

import asyncio

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request

_LONGEST = 600


def application(name: str, hosts: list[str]) -> Starlette:
    """Return the ASGI application: streamable HTTP at /mcp, SSE at /sse.

    Args:
        name: the server's own name.
        hosts: Host header values that are served, with port, or `:*` for any.
    """
    server = MCPServer(name)
    _add_tools(server, name)
    security = TransportSecuritySettings(
        allowed_hosts=hosts, allowed_origins=[f"https://{host}" for host in hosts]
    )
    app = server.streamable_http_app(transport_security=security)
    app.router.routes.extend(server.sse_app(transport_security=security).routes)
    return app


def _add_tools(server: MCPServer, name: str) -> None:
    @server.tool()
    def echo(text: str) -> str:
        """Return the text."""
        return text

    @server.tool()
    def add(a: int, b: int) -> int:
        """Return a + b."""
        return a + b

    @server.tool()
    async def count(to: int, seconds_apart: float, context: Context) -> str:
        """Report progress `to` times, `seconds_apart` seconds apart, then say done."""
        if to * seconds_apart > _LONGEST:
            raise ValueError(f"that would take longer than {_LONGEST} s")
        for number in range(1, to + 1):
            await asyncio.sleep(seconds_apart)
            await context.report_progress(number, to, f"{number} of {to}")
        return f"counted to {to}"

    @server.tool()
    def whoami(context: Context) -> dict[str, str]:
        """Return the server's name and the headers of this request, as they arrived here."""
        request = context.request_context.request
        headers = dict(request.headers) if isinstance(request, Request) else {}
        return {"server": name, **headers}
