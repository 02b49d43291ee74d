"""The log's output, tested against real descriptors that are full, broken or slow."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mcp_proxy.watch import log_output
from mcp_proxy.watch.log_output import LogOutput

LINE = "x" * 99 + "\n"


def lost(number: int) -> str:
    return f"{number} lost\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for descriptor in (read, write):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def readable(descriptor: int) -> bytes:
    assert select.select([descriptor], [], [], 20)[0]
    return os.read(descriptor, 1 << 16)


def everything(read: Callable[[], bytes], until: bytes) -> list[bytes]:
    data = b""
    while until not in data:
        data += (piece := read())
        assert piece
    return data.splitlines()


async def test_a_pipe_that_nobody_reads_holds_up_nobody(pipe: tuple[int, int]) -> None:
    read, write = pipe
    output = LogOutput(write)
    for number in range(30_000):
        output.write(f"{number:099}\n", lost)
    # The kept lines come by themselves, in order and whole, and then the number of lost ones.
    lines = await asyncio.to_thread(everything, lambda: readable(read), b"lost\n")
    kept = len(lines) - 1
    assert lines[:kept] == [b"%099d" % number for number in range(kept)]
    assert kept > 10_000
    assert lines[kept] == b"%d lost" % (30_000 - kept)
    output.write("after\n", lost)
    assert os.read(read, 100) == b"after\n"
    assert os.get_blocking(write)  # others write there, too, and expect it to block


async def test_a_socket_that_nobody_reads_holds_up_nobody() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(20)
        output = LogOutput(ours.fileno())
        for _ in range(30_000):
            output.write(LINE, lost)
        lines = await asyncio.to_thread(everything, lambda: theirs.recv(1 << 16), b"lost\n")
        assert {len(line) for line in lines[:-1]} == {99}
        assert len(lines) - 1 + int(lines[-1].split()[0]) == 30_000
        output.finish()


def test_a_full_disk_that_gets_room_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        output = LogOutput(descriptor)
        # A write is cut short, and the next one fails, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1050, before[1]))
        for _ in range(20):
            output.write(LINE, lost)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        output.write("after\n", lost)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        os.close(descriptor)
    lines = path.read_text().splitlines()
    assert lines[:10] == [LINE.strip()] * 10
    assert lines[10:] == ["x" * 50, "10 lost", "after"]


def test_a_reader_that_has_gone(pipe: tuple[int, int]) -> None:
    read, write = pipe
    output = LogOutput(write)
    output.write(LINE, lost)
    os.close(read)
    for _ in range(20):
        output.write(LINE, lost)
    output.finish()


def test_the_end_waits_for_a_slow_reader(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_output, "_LAST_SECONDS", 60.0)
    read, write = pipe
    output = LogOutput(write)
    for _ in range(2000):
        output.write(LINE, lost)
    output.write("last\n", lost)
    seen: list[bytes] = []
    reader = threading.Thread(
        target=lambda: seen.extend(everything(lambda: readable(read), b"last"))
    )
    reader.start()
    output.finish()
    reader.join(60)
    assert len(seen) == 2001
