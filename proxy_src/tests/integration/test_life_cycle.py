"""Clients notice nothing of a reload, renewal, restart or lost worker, or as little as can be."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bridge import TunnelBridge
from load import event_upstream, load
from mcp_proxy.config.model import Address
from mcp_proxy.process import listening
from running import (
    DOMAIN,
    PATIENCE,
    SRC,
    RunningProxy,
    ask_as,
    exchanged,
    gone,
    proxied,
    running_proxy,
    switch,
)
from test_service import admin
from tunnelled import answer, get, raw_client

# On a busy machine as well, no stream of a worker that leaves may be cut meanwhile.
ROUTES = {"echo": "http://127.0.0.1:1"}
FAST = {"log_level": "info", "workers": 2, "shutdown_timeout": "2m"}


@pytest_asyncio.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[RunningProxy]:
    async with proxied(tmp_path, event_upstream(), **FAST) as running:
        yield running


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Listening sockets of a parent that outlives the proxy, as systemd does."""
    bound = listening.bind(Address("127.0.0.1", 0), 2)
    yield bound
    for sock in bound:
        sock.close()


async def test_a_reload_touches_no_connection(proxy: RunningProxy) -> None:
    workers = proxy.workers()
    assert len(workers) == 2
    async with load(proxy) as clients, raw_client(proxy) as (reader, writer):
        writer.write(get("other"))
        assert (await answer(reader))[0] == 502
        routes = {"other": f"http://127.0.0.1:{await upstream_port(proxy)}"}
        for step in range(3):
            proxy.edit(
                log_level=("debug", "info", "warn")[step],
                routes={**routes, "echo": routes["other"]},
                limits={"max_connections": 1000 + step},
                timeouts={"upstream_idle": f"{10 + step}s"},
            )
            assert await proxy.reload() == (0, "", "")
            await clients.more(40)
        # The same connection, the new route.
        writer.write(get("other"))
        assert (await answer(reader))[0] == 200
    assert clients.failed == []
    assert clients.sent_again == 0
    assert clients.streams_cut == 0
    assert proxy.workers() == workers
    await proxy.shows(
        'mcp_proxy_config_reloads_total{result="loaded"} 3.0', "mcp_proxy_connections_limit 1002.0"
    )


async def upstream_port(proxy: RunningProxy) -> int:
    line = await proxy.logged("route configured")
    return int(line["upstream"].rsplit(":", 1)[1])


async def test_a_renewed_certificate_touches_no_connection(proxy: RunningProxy) -> None:
    async with load(proxy) as clients:
        for _ in range(3):
            proxy.authority.issue(f"*.{DOMAIN}").write(proxy.home / "tls")
            assert await proxy.reload() == (0, "", "")
            await clients.more(40)
    assert clients.failed == []
    assert clients.sent_again == 0
    assert clients.streams_cut == 0
    await proxy.shows('mcp_proxy_certificate_reloads_total{result="loaded"} 3.0')


async def test_a_bad_configuration_is_refused_and_the_old_one_stays(proxy: RunningProxy) -> None:
    good = proxy.config.read_text()
    for bad, said in (
        (good.replace("echo:", "'a:1':"), "routes.a:1: not a hostname"),
        (good + "zzz: 1\nyyy: 1\n", "yyy: unknown field"),
        (good.replace("tls.key", "none.key"), "tls.key_file: cannot read"),
        (good.replace("tls.key", "tls.crt"), "no usable PEM private key"),
    ):
        proxy.config.write_text(bad)
        seen = len(proxy.log)
        status, out, err = await proxy.reload()
        assert (status, out) == (1, "")
        assert said in err
        assert err.startswith(f"{proxy.config}:")
        line = await proxy.logged("new configuration refused", after=seen, level="error")
        assert said in line["problems"]
        assert line["problems"].count(" | ") == bad.count("zzz")
    async with raw_client(proxy) as (reader, writer):
        writer.write(get())
        assert (await answer(reader))[0] == 200
    await proxy.shows(
        'mcp_proxy_config_reloads_total{result="refused"} 4.0',
        "mcp_proxy_config_last_reload_successful 0.0",
    )


async def test_what_a_reload_cannot_change_is_named(proxy: RunningProxy) -> None:
    proxy.edit(workers=1, listen_addr="127.0.0.1:1", admin_addr="127.0.0.1:2")
    status, out, err = await proxy.reload()
    assert (status, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "listen_addr",
        "admin_addr",
        "workers",
    ]
    line = await proxy.logged("configuration loaded", level="warn")
    assert line["needs_restart"] == "listen_addr admin_addr workers"
    assert len(proxy.workers()) == 2


async def test_reload_without_a_proxy(proxy: RunningProxy) -> None:
    proxy.terminate()
    assert await proxy.ended() == 0
    status, _, err = await proxy.reload()
    assert status == 1
    assert "no running proxy answers at" in err


async def test_a_restart_refuses_nobody(tmp_path: Path, sockets: list[socket.socket]) -> None:
    port = sockets[0].getsockname()[1]
    settings: dict[str, Any] = {
        **FAST,
        "listen_addr": f"127.0.0.1:{port}",
        "shutdown_timeout": "5s",  # for what is in flight when the signal comes
    }
    async with event_upstream() as upstream:
        routes = {"echo": f"http://127.0.0.1:{upstream}"}
        async with running_proxy(tmp_path, routes, listeners=sockets, **settings) as proxy:
            async with load(proxy) as clients:
                before = proxy.process.pid
                proxy.terminate()
                stopping = await proxy.logged("stopping")
                assert clients.streams_cut == 0
                assert await proxy.ended() == 0
                stopped = await proxy.logged("stopped")
                assert stopped["time"] > stopping["time"]
                streams = stopped["cut_requests"]  # all, after shutdown_timeout
                await proxy.start()
                assert proxy.process.pid != before
                await clients.more(100)
            assert clients.failed == []
            assert clients.streams_cut == streams
            assert streams >= 6


async def test_another_release_takes_over_in_place(proxy: RunningProxy) -> None:
    """The code on disk is replaced, and ``mcp-proxy reload`` of the new code asks for it."""
    release = await exchanged(proxy)
    async with load(proxy) as clients:
        before = proxy.workers()
        seen = len(proxy.log)
        switch(proxy, release)
        assert await proxy.reload() == (0, "", "")
        await proxy.logged("becoming the release on disk", after=seen, was=str(SRC / "mcp_proxy"))
        started = await proxy.logged("starting", after=seen)
        assert started["pid"] == proxy.process.pid
        await clients.more(100)
        # The streams go on in the old workers, which end with them.
        assert clients.streams_cut == 0
        assert set(before) < set(proxy.workers())
        await clients.close_streams()
        for pid in before:
            await gone(pid)
        seen = len(proxy.log)
        assert await proxy.reload() == (0, "", "")
        await proxy.logged("configuration loaded", after=seen)
    assert clients.failed == []


async def test_a_third_release_takes_over_while_the_first_still_finishes(
    proxy: RunningProxy,
) -> None:
    release = await exchanged(proxy)
    first = proxy.workers()
    async with raw_client(proxy) as (reader, writer):
        writer.write(get("echo", "/events"))
        await reader.readuntil(b"data:")
        for code in (release, SRC):
            switch(proxy, code)
            assert await proxy.reload() == (0, "", "")
        assert set(first) & set(proxy.workers())
        await reader.readuntil(b"data:")
    await asyncio.to_thread(reaped, first)


def reaped(pids: list[int]) -> None:
    """Wait until some process has reaped all of them (proc(5))."""
    deadline = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "processes have not been waited for"
        time.sleep(0.1)


async def test_the_admin_port_is_never_free(tmp_path: Path, sockets: list[socket.socket]) -> None:
    """It was passed with the listening sockets: not in a takeover, nor in a restart."""
    (passed,) = listening.bind(Address("127.0.0.1", 0), 1)
    admin_port = passed.getsockname()[1]
    settings: dict[str, Any] = {
        **FAST,
        "listen_addr": f"127.0.0.1:{sockets[0].getsockname()[1]}",
        "admin_addr": f"127.0.0.1:{admin_port}",
        "shutdown_timeout": "1s",
    }
    with passed:
        listeners = [*sockets, passed]
        async with running_proxy(tmp_path, ROUTES, listeners=listeners, **settings) as proxy:
            assert await admin(proxy, "/readyz") == (200, "ready\n")
            release = await exchanged(proxy)
            for code in (release, SRC):
                switch(proxy, code)
                assert await proxy.reload() == (0, "", "")
                with pytest.raises(OSError, match="in use"):
                    socket.create_server(("127.0.0.1", admin_port))
                assert await admin(proxy, "/readyz") == (200, "ready\n")
            proxy.terminate()
            await proxy.ended()
            waiting = asyncio.ensure_future(admin(proxy, "/readyz"))
            await proxy.start()
            assert (await waiting)[1] in ("ready\n", "starting\n")


async def test_a_release_that_refuses_the_configuration_is_refused(proxy: RunningProxy) -> None:
    release = await exchanged(proxy)
    module = release / "mcp_proxy/config/load.py"
    module.write_text(module.read_text().replace('    "workers",\n', ""))
    workers = proxy.workers()
    switch(proxy, release)
    status, _, err = await proxy.reload()
    assert status == 1
    assert "workers: unknown field" in err
    assert proxy.workers() == workers
    async with raw_client(proxy) as (reader, writer):
        writer.write(get())
        assert (await answer(reader))[0] == 200


async def test_a_release_that_does_not_run_is_refused(proxy: RunningProxy) -> None:
    release = await exchanged(proxy)
    (release / "mcp_proxy/cli.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    switch(proxy, release)
    seen = len(proxy.log)
    assert (await ask_as(proxy, "another release")).problems == ["exit status -9"]
    await proxy.logged("new release refused", after=seen)


async def test_a_stop_outruns_another_release(proxy: RunningProxy) -> None:
    """The signal comes while the other release judges the configuration."""
    release = await exchanged(proxy)
    judging = proxy.home / "judging"
    os.mkfifo(judging)
    module = release / "mcp_proxy/cli.py"
    first = "from __future__ import annotations\n"
    wait = f"{first}open({str(judging)!r}).read()\n"
    module.write_text(module.read_text().replace(first, wait))
    switch(proxy, release)
    seen = len(proxy.log)
    async with raw_client(proxy) as (reader, writer):
        # A stream, so that the proxy does not end before it is asked.
        writer.write(get("echo", "/events"))
        await reader.readuntil(b"data:")
        asking = asyncio.ensure_future(ask_as(proxy, "another release"))
        verdict = await asyncio.to_thread(open, judging, "w")
        proxy.terminate()
        await proxy.logged("stopping", after=seen)
        verdict.close()
        assert (await asking).upgrading
        await reader.readuntil(b"data:")
    assert await proxy.ended() == 0
    await proxy.logged("stopped", after=seen)
    assert not [line for line in proxy.log if "becoming" in line["msg"]]


async def test_whoever_is_about_to_ask_is_answered(proxy: RunningProxy) -> None:
    """Connected when the proxy begins to stop, without a request or in the midst of one."""
    async with raw_client(proxy) as (first, one), raw_client(proxy) as (second, other):
        other.write(get()[:-2])
        proxy.terminate()
        await proxy.logged("stopping")
        one.write(get())
        other.write(b"\r\n")
        for reader in (first, second):
            status, fields, _ = await answer(reader)
            assert (status, fields["connection"]) == (200, "close")
        assert await proxy.ended() == 0
    assert (await proxy.logged("stopped"))["cut_requests"] == 0


async def test_a_killed_worker_takes_only_its_own_with_it(proxy: RunningProxy) -> None:
    victim, survivor = proxy.workers()
    async with load(proxy) as clients:
        seen = len(proxy.log)
        os.kill(victim, signal.SIGKILL)
        line = await proxy.logged("worker ended", after=seen)
        assert (line["pid"], line["how"]) == (victim, "killed by SIGKILL")
        clients.phase = "after"
        await proxy.logged("worker ready", after=seen)
        await clients.more(200)
        assert survivor in proxy.workers()
        streams = clients.streams_open
    # A connection has one request at a time; no new connection fails.
    assert not [line for line in clients.failed if "after" in line]
    assert len(clients.failed) <= 12
    assert clients.streams_cut > 0
    assert streams > 0
    await proxy.shows(
        'mcp_proxy_worker_restarts_total{reason="killed"} 1.0', "mcp_proxy_workers 2.0"
    )


async def test_a_worker_that_leaves_is_replaced_before_it_has_ended(proxy: RunningProxy) -> None:
    async with load(proxy) as clients:
        leaving = proxy.workers()[0]
        seen = len(proxy.log)
        os.kill(leaving, signal.SIGTERM)
        await proxy.logged("worker leaves", after=seen, pid=leaving)
        await proxy.logged("worker ready", after=seen)
        assert clients.streams_cut == 0
        await clients.more(100)
    assert clients.failed == []


async def test_workers_end_with_their_supervisor(proxy: RunningProxy) -> None:
    workers = proxy.workers()
    proxy.process.kill()
    for worker in workers:
        await gone(worker)


async def visit(proxy: RunningProxy, port: int, *session: str) -> str:
    """The verdict of ``openssl s_client`` on its session: ``New`` or ``Reused``."""
    host = f"echo.{DOMAIN}"
    client = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", host),
        *("-CAfile", str(proxy.ca_file), "-verify_return_error", "-ign_eof", *session),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    request = get("echo", "/", "Connection: close")
    out, _ = await asyncio.wait_for(client.communicate(request), PATIENCE)
    (verdict,) = re.findall(r"^(New|Reused), TLSv1.3", out.decode(errors="replace"), re.M)
    return str(verdict)


async def test_sessions_outlive_their_worker_but_not_the_certificate(proxy: RunningProxy) -> None:
    ticket = str(proxy.home / "session")
    async with TunnelBridge(proxy.port) as port:
        assert await visit(proxy, port, "-sess_out", ticket) == "New"
        began_with = proxy.workers()
        seen = len(proxy.log)
        for pid in began_with:
            os.kill(pid, signal.SIGTERM)
        for number in (1, 2):
            await proxy.logged("worker ready", after=seen, worker=number)
        for pid in began_with:
            await gone(pid)
        # Any worker that takes the ticket now is none of those that made it.
        assert await visit(proxy, port, "-sess_in", ticket) == "Reused"
        proxy.authority.issue(f"*.{DOMAIN}").write(proxy.home / "tls")
        assert await proxy.reload() == (0, "", "")
        assert await visit(proxy, port, "-sess_in", ticket) == "New"
