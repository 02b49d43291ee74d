"""The machine's clock is set while the proxy runs: libfaketime does so for this process.

The monotonic clock goes on, as a kernel does not set it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pki import put
from running import RunningProxy, becomes, proxied
from tunnelled import answer, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head

DAY = 86400


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_head(reader)
        writer.write(plain_answer(b"ok"))


@pytest.fixture
def library() -> str:
    (found,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return str(found)


async def ready(proxy: RunningProxy) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.admin_port)
    writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
    status, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return f"{status.split()[1].decode()} {body.decode().strip()}"


async def test_the_clock_jumps(tmp_path: Path, library: str) -> None:
    offset = tmp_path / "offset"
    put(offset, b"+0\n")
    through = (
        "env",
        f"LD_PRELOAD={library}",
        f"FAKETIME_TIMESTAMP_FILE={offset}",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
    )
    tls = {
        "cert_file": str(tmp_path / "tls/tls.crt"),
        "key_file": str(tmp_path / "tls/tls.key"),
        "poll_interval": "50ms",
    }
    async with proxied(tmp_path, raw_upstream(polite), through=through, tls=tls) as proxy:
        async with raw_client(proxy) as (reader, writer):

            async def still_served() -> None:
                writer.write(get())
                assert (await answer(reader))[0] == 200
                async with raw_client(proxy) as (new_reader, new_writer):
                    new_writer.write(get())
                    assert (await answer(new_reader))[0] == 200

            await still_served()
            for days, why in ((100, "expired at"), (-10, "not valid before"), (3650, "expired at")):
                seen = len(proxy.log)
                put(offset, f"{days * DAY:+}\n".encode())
                line = await proxy.logged("certificate not valid", after=seen)
                assert line["problem"].startswith(why)
                # No connection is closed and none waits: only wall clocks jump.
                await still_served()
                assert (await ready(proxy)).startswith(f"503 {why}")
                put(offset, b"+0\n")
                await becomes("200 ready", lambda: ready(proxy))
                await still_served()
            seconds = [line["seconds"] for line in proxy.log if line["msg"] == "request finished"]
            assert all(0 <= value < 60 for value in seconds)
            complaints = [line for line in proxy.log if line["msg"] == "certificate not valid"]
            assert len(complaints) == 3
