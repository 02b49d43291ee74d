"""A real MCP server as the proxy's upstream, which also records the requests that reach it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

RESOURCE_METADATA = "https://echo.t.example/.well-known/oauth-protected-resource"


class McpUpstream:
    """Streamable HTTP at ``/mcp``, SSE at ``/sse``, and the requests: (method, path, headers).

    With ``holds_ends``, no session ends before its client has asked for the server's messages.
    """

    def __init__(self, security: TransportSecuritySettings | None) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.holds_ends = False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._recorded(_app(security)),
                log_level="warning",
                ws="none",
                timeout_graceful_shutdown=2,
                timeout_keep_alive=3600,
            )
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def headers_of(self, method: str, path: str) -> list[dict[str, str]]:
        """The headers of the requests with *method* for *path*."""
        return [head for verb, where, head in self.requests if (verb, where) == (method, path)]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def _recorded(self, app: Starlette) -> Any:
        async def recording(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                head = {name.decode(): value.decode() for name, value in scope["headers"]}
                self.requests.append((scope["method"], scope["path"], head))
                while self.holds_ends and scope["method"] == "DELETE":
                    self.holds_ends = not self.headers_of("GET", scope["path"])
                    await asyncio.sleep(0.01)
            await app(scope, receive, send)

        return recording


def _app(security: TransportSecuritySettings | None) -> Starlette:
    server = MCPServer("upstream", log_level="WARNING")
    gates: asyncio.Queue[None] = asyncio.Queue()

    @server.tool()
    def echo(text: str) -> str:
        """Return the text."""
        return text

    @server.tool()
    async def steps(count: int, ctx: Context[Any, Any]) -> str:
        """Report progress, each step only after the client has called `release`."""
        for number in range(1, count + 1):
            await ctx.report_progress(number, count)
            await gates.get()
        return f"{count} steps"

    @server.tool()
    def release() -> str:
        """Let one `steps` go on."""
        gates.put_nowait(None)
        return "released"

    waiting = 0
    everybody = asyncio.Event()

    @server.tool()
    async def meet(people: int) -> str:
        """Return when as many calls as there are *people* are here at the same time."""
        nonlocal waiting
        waiting += 1
        if waiting == people:
            everybody.set()
        await everybody.wait()
        return "met"

    @server.custom_route("/private", methods=["GET"])
    async def private(_: Request) -> Response:
        challenge = f'Bearer resource_metadata="{RESOURCE_METADATA}", error="invalid_token"'
        return Response(status_code=401, headers={"WWW-Authenticate": challenge})

    app = server.streamable_http_app(transport_security=security)
    app.router.routes.extend(server.sse_app(transport_security=security).router.routes)
    return app


@contextlib.asynccontextmanager
async def mcp_upstream(*allowed_hosts: str) -> AsyncIterator[McpUpstream]:
    """Run a server that accepts *allowed_hosts* in ``Host``; without any it accepts loopback only.

    The latter is the server's own default, its protection against DNS rebinding.
    """
    security = None
    if allowed_hosts:
        origins = [f"https://{host}" for host in allowed_hosts]
        security = TransportSecuritySettings(
            allowed_hosts=list(allowed_hosts), allowed_origins=origins
        )
    upstream = McpUpstream(security)
    upstream.start()
    try:
        yield upstream
    finally:
        await asyncio.get_running_loop().run_in_executor(None, upstream.stop)
