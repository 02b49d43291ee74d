"""Processes that die, hang, or find no descriptors and no directory to work in."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from pathlib import Path

from running import DOMAIN, RunningProxy, proxied, running_proxy
from tunnelled import answer, get, raw_client
from upstreams import nobodys_port, plain_answer, raw_upstream, read_head


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_head(reader)
        writer.write(plain_answer(b"ok"))


async def served(proxy: RunningProxy) -> None:
    async with raw_client(proxy) as (reader, writer):
        writer.write(get())
        assert (await answer(reader))[0] == 200


async def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    """Clients that it had accepted are lost; the next worker serves those that still waited."""
    async with proxied(tmp_path, raw_upstream(polite)) as proxy:
        (hung,) = proxy.workers()
        os.kill(hung, signal.SIGSTOP)
        await served(proxy)
        line = await proxy.logged("worker ended")
        assert line["pid"] == hung
        assert hung not in proxy.workers()
        assert proxy.process.returncode is None


def name(pid: int) -> str:
    """The name of a process, as ps(1) shows it."""
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


async def test_processes_have_names(tmp_path: Path) -> None:
    """The supervisor and each worker, also one that replaces another."""
    async with proxied(tmp_path, raw_upstream(polite), workers=2) as proxy:
        assert name(proxy.process.pid) == "mcp-proxy"
        first, second = proxy.workers()
        assert [name(first), name(second)] == ["mcp-proxy-w1", "mcp-proxy-w2"]
        seen = len(proxy.log)
        os.kill(first, signal.SIGKILL)
        line = await proxy.logged("worker ready", after=seen, worker=1)
        assert name(line["pid"]) == "mcp-proxy-w1"


async def test_a_supervisor_without_descriptors(tmp_path: Path) -> None:
    async with proxied(tmp_path, raw_upstream(polite)) as proxy:
        pid = proxy.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, before[1]))
        seen = len(proxy.log)
        os.kill(proxy.workers()[0], signal.SIGKILL)
        line = await proxy.logged("worker cannot be started", after=seen)
        assert line["problem"] == "Too many open files"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        await proxy.logged("worker ready", after=seen)
        await served(proxy)


async def test_the_directory_it_was_started_in_is_gone(tmp_path: Path) -> None:
    """So are /tmp and every other place to which it might write."""
    place = tmp_path / "place"
    place.mkdir()
    tls = {
        "cert_file": str(tmp_path / "tls/tls.crt"),
        "key_file": str(tmp_path / "tls/tls.key"),
        "poll_interval": "50ms",
    }
    through = ("env", "-C", str(place), f"TMPDIR={place}")
    async with proxied(tmp_path, raw_upstream(polite), through=through, tls=tls) as proxy:
        place.rmdir()
        seen = len(proxy.log)
        proxy.authority.issue(f"*.{DOMAIN}").write(tmp_path / "tls")
        await proxy.logged("certificate loaded", after=seen)
        os.kill(proxy.workers()[0], signal.SIGKILL)
        await proxy.logged("worker ready", after=seen)
        await served(proxy)


async def test_an_upstream_restarts(tmp_path: Path) -> None:
    """Idle connections to it do no harm, and requests that it does not take get an error."""
    with nobodys_port() as port:
        server = await asyncio.start_server(polite_until_closed, "127.0.0.1", port)
        async with (
            running_proxy(tmp_path, {"echo": f"http://127.0.0.1:{port}"}) as proxy,
            raw_client(proxy) as (reader, writer),
        ):

            async def ask(method: bytes) -> int:
                writer.write(get().replace(b"GET", method, 1))
                return (await answer(reader))[0]

            for _ in range(3):
                assert await ask(b"GET") == 200
                server.close()
                for connection in list(CONNECTIONS):
                    connection.close()
                assert await ask(b"GET") == 502  # also if it leaves on a connection that ends
                assert await ask(b"POST") == 502
                server = await asyncio.start_server(polite_until_closed, "127.0.0.1", port)
                assert await ask(b"POST") == 200
        server.close()


CONNECTIONS: set[asyncio.StreamWriter] = set()


async def polite_until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    CONNECTIONS.add(writer)
    try:
        await polite(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        CONNECTIONS.discard(writer)
        writer.close()
