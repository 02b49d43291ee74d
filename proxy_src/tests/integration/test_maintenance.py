"""A route in maintenance: 503 with Retry-After, no connection to its upstream, reload by reload."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from running import RunningProxy, proxied
from test_service import admin
from tunnelled import VERSIONS, answer, curl, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head

SHOWN = "%{http_code} %header{proxy-status} %header{retry-after}"
TOLD = '503 mcp-proxy; error=destination_unavailable; details="maintenance"'


async def told(proxy: RunningProxy, version: str = "1.1", *more: str) -> str:
    return await curl(proxy, "echo/", "-o", os.devnull, "-w", SHOWN, *more, version=version)


@pytest.mark.parametrize("version", VERSIONS)
async def test_it_comes_and_goes_with_a_reload(tmp_path: Path, version: str) -> None:
    dialled = 0

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        while await read_head(reader):
            writer.write(plain_answer(b"here"))

    options = {"echo": {"maintenance": True, "retry_after": "1500ms"}}
    async with proxied(tmp_path, raw_upstream(upstream), route_options=options) as proxy:
        assert (await proxy.logged("route configured"))["maintenance"] == "yes"
        assert await told(proxy, version) == f"{TOLD} 2"
        assert await told(proxy, version, "-d", "x" * 100_000) == f"{TOLD} 2"
        assert dialled == 0
        _, page = await admin(proxy, "/metrics")
        assert 'mcp_proxy_route_maintenance{route="echo"} 1.0' in page
        workers = proxy.workers()
        seen = len(proxy.log)
        proxy.edit(route_options={"echo": {"maintenance": False}})
        assert await proxy.reload() == (0, "", "")
        assert "maintenance" not in await proxy.logged("route configured", after=seen)
        assert (await told(proxy, version)).split() == ["200"]
        assert dialled == 1
        _, page = await admin(proxy, "/metrics")
        assert 'mcp_proxy_route_maintenance{route="echo"} 0.0' in page
        assert proxy.workers() == workers


async def test_a_request_that_has_begun_ends_as_it_began(tmp_path: Path) -> None:
    goes_on = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_head(reader):
            await goes_on.wait()
            writer.write(plain_answer(b"here"))

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get())
            await proxy.logged("request started")
            proxy.edit(route_options={"echo": {"maintenance": True}})
            assert await proxy.reload() == (0, "", "")
            goes_on.set()
            assert (await answer(reader))[0] == 200
            writer.write(get())
            assert (await answer(reader))[0] == 503


async def test_a_reload_refuses_what_check_config_refuses(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_head(reader):
            writer.write(plain_answer(b"here"))

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        for options, said in (
            ({"ecko": {}}, "route_options.ecko: no such route"),
            ({"echo": {"maintenance": "maybe"}}, "route_options.echo.maintenance: must be true or"),
        ):
            proxy.edit(route_options=options)
            status, _out, err = await proxy.reload()
            assert status == 1
            assert said in err
        assert (await told(proxy)).split() == ["200"]
