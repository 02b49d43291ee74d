"""A client that rejects our certificate, or whose TLS we reject, costs one line and one count."""

from __future__ import annotations

import asyncio
import re
import ssl
from pathlib import Path

import pytest
from bridge import TunnelBridge
from running import DOMAIN, becomes, running_proxy
from test_service import admin


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["unknown ca", "old tls"])
async def test_a_failed_handshake_is_told_once(tmp_path: Path, kind: str) -> None:
    async with (
        running_proxy(tmp_path, {"echo": "http://127.0.0.1:1"}) as proxy,
        TunnelBridge(proxy.port) as port,
    ):
        context = proxy.client_tls() if kind == "old tls" else ssl.create_default_context()
        if kind == "old tls":
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname=f"echo.{DOMAIN}"
            )
        await proxy.logged("tls handshake failed")
        await asyncio.sleep(0.5)
        lines = [line for line in proxy.log if line["msg"] == "tls handshake failed"]
        assert len(lines) == 1, lines

        async def counted() -> float:
            _, page = await admin(proxy, "/metrics")
            counts = re.findall(r"^mcp_proxy_tls_handshake_failures_total{.*} (.*)$", page, re.M)
            return sum(map(float, counts))

        await becomes(1, counted)
