"""Faults in the middle of a takeover by another release, and soon after it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from mcp_proxy.config.model import Address
from mcp_proxy.process import listening
from running import (
    SRC,
    RunningProxy,
    ask_as,
    exchanged,
    gone,
    proxied,
    running_proxy,
    switch,
)
from tunnelled import answer, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head

FIRST = "from __future__ import annotations\n"
#: Longer than any wait of a test: nothing that waits for it passes.
PATIENT = {"shutdown_timeout": "5m", "log_level": "info"}


class Upstream:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.answer = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_head(reader)
            self.arrived.set()
            await self.answer.wait()
            writer.write(plain_answer(b"ok"))


@contextlib.asynccontextmanager
async def in_flight(proxy: RunningProxy, upstream: Upstream) -> AsyncIterator[asyncio.StreamReader]:
    """A request that the upstream has got, and has not answered."""
    async with raw_client(proxy) as (reader, writer):
        writer.write(get())
        await upstream.arrived.wait()
        yield reader


def waiting(module: Path, pipe: Path) -> None:
    """Have the *module* wait, when it is imported, until somebody has opened and closed *pipe*."""
    module.write_text(module.read_text().replace(FIRST, f"{FIRST}open({str(pipe)!r}).read()\n", 1))


async def reached(pipe: Path) -> int:
    """Wait until a program waits at *pipe*; it goes on when the descriptor is closed."""
    return await asyncio.to_thread(os.open, pipe, os.O_WRONLY)


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


# -- addresses -----------------------------------------------------------------------------------


@pytest.fixture
def passed() -> Iterator[list[socket.socket]]:
    """As of a socket unit: one for the requests, and one for the admin listener."""
    bound = [
        *listening.bind(Address("127.0.0.1", 0), 2),
        *listening.bind(Address("127.0.0.1", 0), 1),
    ]
    yield bound
    for sock in bound:
        sock.close()


async def served(proxy: RunningProxy) -> None:
    async with raw_client(proxy) as (reader, writer):
        writer.write(get("nowhere"))
        assert (await answer(reader))[0] == 502


async def test_another_address_and_another_release_at_once(tmp_path: Path) -> None:
    """The sockets that the proxy has bound itself stay until a restart."""
    async with running_proxy(tmp_path, {"echo": "http://127.0.0.1:1"}, **PATIENT) as proxy:
        release = await exchanged(proxy)
        proxy.edit(listen_addr=f"127.0.0.1:{proxy.port + 1}")
        for code in (release, SRC):
            switch(proxy, code)
            assert await proxy.reload() == (0, "listen_addr: the new value needs a restart\n", "")
            await served(proxy)
        proxy.edit(listen_addr="127.0.0.1:0")
        assert await proxy.reload() == (0, "", "")
        assert proxy.process.returncode is None


async def test_other_addresses_than_those_of_the_passed_sockets(
    tmp_path: Path, passed: list[socket.socket]
) -> None:
    here = [sock.getsockname()[1] for sock in passed]
    addresses = {"listen_addr": f"127.0.0.1:{here[0]}", "admin_addr": f"127.0.0.1:{here[2]}"}
    async with running_proxy(
        tmp_path, {"echo": "http://127.0.0.1:1"}, listeners=passed, **addresses, **PATIENT
    ) as proxy:
        release = await exchanged(proxy)
        proxy.edit(listen_addr="127.0.0.1:1", admin_addr="")
        for code in (release, SRC):
            switch(proxy, code)
            status, out, err = await proxy.reload()
            assert (status, err) == (0, ""), proxy.transcript()
            assert [line.split(":")[0] for line in out.splitlines()] == [
                "listen_addr",
                "admin_addr",
            ]
            await served(proxy)
            reader, writer = await asyncio.open_connection("127.0.0.1", here[2])
            writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
            assert b"200 OK" in await reader.read()
            writer.close()
        proxy.edit(**addresses)
        assert await proxy.reload() == (0, "", "")


# -- workers of the release before ---------------------------------------------------------------


async def test_an_old_worker_that_hangs_is_killed(tmp_path: Path) -> None:
    """As any other: its clients do not wait for the end of the time that streams may take."""
    upstream = Upstream()
    async with proxied(tmp_path, raw_upstream(upstream.serve), **PATIENT) as proxy:
        release = await exchanged(proxy)
        seen = len(proxy.log)
        (old,) = proxy.workers()
        async with in_flight(proxy, upstream) as reader:
            os.kill(old, signal.SIGSTOP)
            switch(proxy, release)
            assert await proxy.reload() == (0, "", "")
            line = await proxy.logged("worker ended", after=seen, pid=old)
            assert line["how"] == "it did not answer"
            assert await reader.read() == b""
        await gone(old)
        assert old not in proxy.workers()
        upstream.answer.set()
        async with raw_client(proxy) as (reader, writer):
            writer.write(get())
            assert (await answer(reader))[0] == 200


async def test_a_stop_soon_after_a_takeover_cuts_nobody(tmp_path: Path) -> None:
    """What the old workers have in flight has as much time as that of the new ones."""
    upstream = Upstream()
    async with proxied(tmp_path, raw_upstream(upstream.serve), **PATIENT) as proxy:
        release = await exchanged(proxy)
        seen = len(proxy.log)
        old = proxy.workers()
        async with in_flight(proxy, upstream) as reader:
            switch(proxy, release)
            assert await proxy.reload() == (0, "", "")
            proxy.terminate()
            await proxy.logged("stopping", after=seen)
            assert set(old) <= set(proxy.workers())
            upstream.answer.set()
            assert (await answer(reader))[0] == 200
            # It has answered all the same with its supervisor gone, so look who ends first.
            assert await proxy.ended() == 0
            assert not [pid for pid in old if lives(pid)]
        assert (await proxy.logged("stopped", after=seen))["cut_requests"] == 0


async def test_a_second_signal_reaches_the_old_workers(tmp_path: Path) -> None:
    upstream = Upstream()
    async with proxied(tmp_path, raw_upstream(upstream.serve), **PATIENT) as proxy:
        release = await exchanged(proxy)
        seen = len(proxy.log)
        async with in_flight(proxy, upstream) as reader:
            switch(proxy, release)
            assert await proxy.reload() == (0, "", "")
            proxy.terminate()
            await proxy.logged("stopping", after=seen)
            proxy.terminate()
            assert await reader.read() == b""
            assert await proxy.ended() == 0
        assert (await proxy.logged("stopped", after=seen))["cut_requests"] == 1


async def test_a_stop_spares_a_worker_that_leaves(tmp_path: Path) -> None:
    """It has begun to end before the others, and is to be told once."""
    upstream = Upstream()
    async with proxied(tmp_path, raw_upstream(upstream.serve), **PATIENT) as proxy:
        seen = len(proxy.log)
        async with in_flight(proxy, upstream) as reader:
            os.kill(proxy.workers()[0], signal.SIGTERM)
            await proxy.logged("worker leaves")
            proxy.terminate()
            await proxy.logged("stopping", after=seen)
            upstream.answer.set()
            assert (await answer(reader))[0] == 200
            assert await proxy.ended() == 0
        assert (await proxy.logged("stopped", after=seen))["cut_requests"] == 0


# -- signals -------------------------------------------------------------------------------------


async def test_a_hangup_before_the_proxy_takes_signals(tmp_path: Path) -> None:
    async with running_proxy(tmp_path, {"echo": "http://127.0.0.1:1"}, **PATIENT) as proxy:
        release = await exchanged(proxy)
        seen = len(proxy.log)
        proxy.terminate()
        await proxy.ended()
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        waiting(release / "mcp_proxy/process/supervisor.py", pipe)
        switch(proxy, release)
        seen = len(proxy.log)
        await proxy.launch()
        at = await reached(pipe)
        proxy.process.send_signal(signal.SIGHUP)
        os.close(at)
        await proxy.logged("configuration loaded", after=seen)
        assert proxy.process.returncode is None


async def test_signals_before_the_other_release_takes_any(tmp_path: Path) -> None:
    """A hangup, and a stop: the process has requests in flight that must not be cut."""
    upstream = Upstream()
    async with proxied(tmp_path, raw_upstream(upstream.serve), **PATIENT) as proxy:
        release = await exchanged(proxy)
        seen = len(proxy.log)
        old = proxy.workers()
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        waiting(release / "mcp_proxy/cli.py", pipe)
        switch(proxy, release)
        async with in_flight(proxy, upstream) as reader:
            asking = asyncio.ensure_future(ask_as(proxy, "another release"))
            os.close(await reached(pipe))  # judges the configuration
            assert (await asking).upgrading
            at = await reached(pipe)  # has taken over
            proxy.process.send_signal(signal.SIGHUP)
            proxy.terminate()
            os.close(at)
            await proxy.logged("stopping", after=seen)
            upstream.answer.set()
            assert (await answer(reader))[0] == 200
            assert await proxy.ended() == 0
            assert not [pid for pid in old if lives(pid)]
        assert (await proxy.logged("stopped", after=seen))["cut_requests"] == 0
