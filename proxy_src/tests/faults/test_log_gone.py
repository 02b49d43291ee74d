"""The log has no reader, or there is no room for it: only lines are lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

from running import PATIENCE, RunningProxy, becomes, prepared_proxy, proxied
from tunnelled import answer, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head

MANY = 250
"""Requests whose lines are more than a pipe holds (64 KiB, pipe(7))."""


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_head(reader)
        writer.write(plain_answer(b"ok"))


async def many_are_served(proxy: RunningProxy) -> None:
    async with raw_client(proxy) as (reader, writer):
        for _ in range(MANY):
            writer.write(get())
            assert (await answer(reader))[0] == 200


async def test_a_log_that_nobody_reads(tmp_path: Path) -> None:
    async with proxied(tmp_path, raw_upstream(polite)) as proxy:
        proxy._pipe.pause_reading()
        await many_are_served(proxy)
        await many_are_served(proxy)
        proxy._pipe.resume_reading()
        # Nothing was lost, so the log says nothing about it.
        await proxy.logged_times(2 * MANY, "request finished")
        assert not [line for line in proxy.log if "lost" in line["msg"]]
        proxy.terminate()
        assert await proxy.ended() == 0


async def test_the_reader_of_the_log_has_gone(tmp_path: Path) -> None:
    async with proxied(tmp_path, raw_upstream(polite)) as proxy:
        proxy._pipe.close()
        await many_are_served(proxy)
        # A worker that begins without a log works all the same.
        os.kill(proxy.workers()[0], signal.SIGKILL)
        await many_are_served(proxy)
        proxy.terminate()
        assert await asyncio.wait_for(proxy.process.wait(), PATIENCE) == 0


DISK = 16384
FULL_DISK = f'mount -t tmpfs -o size={DISK} none "$0" && exec "$@" 2>>"$0/log"'


async def test_the_disk_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    through = ("unshare", "--mount", "sh", "-c", FULL_DISK, str(disk))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with raw_upstream(polite) as port:
            routes = {"echo": f"http://127.0.0.1:{port}"}
            # Its lines are not seen, so the test has to know beforehand what they would say.
            proxy = prepared_proxy(
                tmp_path, routes, listeners=[listener], through=through, admin_addr=""
            )
            proxy.port = listener.getsockname()[1]
            try:
                await proxy.launch()
                await many_are_served(proxy)
                log = Path(f"/proc/{proxy.process.pid}/root{disk}/log")

                async def taken() -> int:
                    return size(log)

                await becomes(DISK, taken)
                await more_room(proxy, disk)
                await many_are_served(proxy)
                # Lines are whole, except those that the disk cut; the log counts the missing ones.
                lines = log.read_text().splitlines()  # noqa: ASYNC240 - it is in memory
                (lost,) = (line for line in lines if " log lines lost lines=" in line)
                served = sum(" request finished route=echo " in line for line in lines)
                assert MANY < served < 2 * MANY
                assert int(lost.rpartition("=")[2]) >= 2 * MANY - served
                proxy.terminate()
                assert await asyncio.wait_for(proxy.process.wait(), PATIENCE) == 0
            finally:
                await proxy.kill()


def size(path: Path) -> int:
    return path.stat().st_size


async def more_room(proxy: RunningProxy, disk: Path) -> None:
    enter = ("nsenter", "--mount", "--target", str(proxy.process.pid))
    mount = ("mount", "-o", "remount,size=1m", str(disk))
    process = await asyncio.create_subprocess_exec(*enter, *mount)
    assert await process.wait() == 0
