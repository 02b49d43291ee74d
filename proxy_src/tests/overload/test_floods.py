"""Input that costs far more work than its bytes are worth: others are served meanwhile.

Each flood runs for ``FLOOD_SECONDS`` (``make overload``: 5) beside another client, an honest one on
another route. Its waiting time is printed and recorded, but no test judges it: it depends on the
machine. The tests require that the worker lives, that memory stays small, and that the honest
client is served. ``test_rota.py`` holds that nothing works longer than a slice at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from clients import Client, comes_to, metric, rss
from flood import CLIENT, UPSTREAM, WEBSOCKET
from running import RunningProxy, running_proxy
from test_overload import polite
from tunnelled import get
from upstreams import raw_upstream

SECONDS = float(os.environ.get("FLOOD_SECONDS", "0.5"))
SCRIPT = Path(__file__).parent / "flood.py"
CASES = {
    **{f"upstream: {name}, read over HTTP/2": (name, "read over HTTP/2", 1) for name in UPSTREAM},
    **{
        f"upstream: {name}, read over HTTP/1.1": (name, "read over HTTP/1.1", 64)
        for name in UPSTREAM
    },
    **{f"client: {name}": ("content", name, 4) for name in (*CLIENT, *WEBSOCKET)},
}
# Each upstream once, and both protocols: the other half is for make overload.
OTHERS = {
    f"upstream: {name}, read over HTTP/{'1.1' if number % 2 else '2'}"
    for number, name in enumerate(UPSTREAM)
}


@contextlib.asynccontextmanager
async def flooding(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), *arguments), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        await process.communicate()


def waits(proxy: RunningProxy, seconds: float) -> list[float]:
    """Return how long an honest client waits for each answer, during some *seconds*."""
    client = Client(proxy.port)
    client.open_websocket()
    client.open_tls(proxy.client_tls("http/1.1"))
    found = []
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end or len(found) < 5:
        client.send(get())
        assert client.read().startswith(b"HTTP/1.1 200")
        found.append((time.monotonic() - began) * 1e3)
        time.sleep(0.005)
    client.close()
    return sorted(found)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.exhaustive if case in OTHERS else ()) for case in CASES],
)
async def test_others_are_served_during_a_flood(
    tmp_path: Path, case: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    upstream, client, times = CASES[case]
    async with raw_upstream(polite) as port, flooding("upstream", upstream) as serving:
        assert serving.stdout is not None
        other = int(await serving.stdout.readline())
        routes = {"echo": f"http://127.0.0.1:{port}", "flood": f"http://127.0.0.1:{other}"}
        async with running_proxy(tmp_path, routes, log_level="info") as proxy:
            workers = proxy.workers()
            quiet = await asyncio.to_thread(waits, proxy, 0.1)
            before = rss(proxy)
            flood = ("client", client, str(proxy.port), str(proxy.ca_file), str(times))
            async with flooding(*flood):
                await asyncio.sleep(0.5)
                found = await asyncio.to_thread(waits, proxy, SECONDS)
                grown = rss(proxy) - before
            p99 = found[len(found) * 99 // 100]
            record_testsuite_property(f"flood_p99_ms: {case}", p99)
            print(
                f"\n{case}: others' median {found[len(found) // 2]:.1f} ms, p99 {p99:.1f} ms of "
                f"{len(found)} (before: {quiet[len(quiet) // 2]:.1f} ms), {grown / 1e6:.1f} MB more"
            )
            await comes_to(proxy, "mcp_proxy_connections_open", 0)
            assert proxy.workers() == workers
            assert await metric(proxy, "mcp_proxy_worker_restarts_total") == 0
            assert grown < 80_000_000
