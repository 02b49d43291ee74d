"""`lab call`: a real MCP client calls a tool through the whole tunnel.

The client connects to the edge's front door and speaks TLS with the proxy behind it: it verifies
the proxy's certificate against the tunnel's CA. In production that CA is registered with the
vendor; here it is read from the state host.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from ..core.errors import LabError
from ..wire.dialled import DialledTransport

_TIMEOUT = 90.0


def call(
    front: str,
    ca: str,
    host: str,
    tool: str,
    arguments: Mapping[str, Any],
    *,
    transport: str = "http",
    http2: bool = False,
    mode: str = "auto",
) -> str:
    """Call `tool` of the MCP server behind `https://HOST/` and return the answer's text.

    Args:
        front: address of the front door, host:port.
        ca: PEM of the CA that signed the proxy's certificate.
        host: host name inside the tunnel.
        tool: name of the tool.
        arguments: its arguments.
        transport: "http" (streamable HTTP at /mcp) or "sse" (/sse).
        http2: whether to offer HTTP/2.
        mode: protocol revision: "auto", "legacy" (initialize handshake) or one like "2026-07-28".

    Raises:
        LabError: no answer, or the tool reports an error.
    """
    try:
        answer = asyncio.run(_call(front, ca, host, tool, arguments, transport, http2, mode))
    except Exception as error:
        raise LabError(f"call of {tool} at https://{host}/ failed: {_innermost(error)}") from None
    return answer


async def _call(
    front: str,
    ca: str,
    host: str,
    tool: str,
    arguments: Mapping[str, Any],
    transport: str,
    http2: bool,
    mode: str,
) -> str:
    def http_client(
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            transport=DialledTransport(front, ca, http2),
            headers=headers,
            timeout=timeout or httpx2.Timeout(_TIMEOUT),
            auth=auth,
        )

    async with asyncio.timeout(_TIMEOUT), http_client() as http:
        server = (
            sse_client(f"https://{host}/sse", httpx_client_factory=http_client)
            if transport == "sse"
            else streamable_http_client(f"https://{host}/mcp", http_client=http)
        )
        async with Client(server, mode="legacy" if transport == "sse" else mode) as client:
            result = await client.call_tool(tool, dict(arguments))
    texts = [block.text for block in result.content if block.type == "text"]
    if result.is_error:
        raise LabError("\n".join(texts))
    return "\n".join(texts) or json.dumps(result.structured_content)


def _innermost(error: BaseException) -> str:
    while inner := getattr(error, "exceptions", ()):  # an ExceptionGroup
        error = inner[0]
    reason = str(error) or "the edge cut the connection; `lab edge NAME status` says why"
    return f"{type(error).__name__}: {reason}"
