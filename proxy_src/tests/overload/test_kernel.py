"""Buffers of the kernel: the clients of one proxy must not use up those of all TCP of the host."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest
from clients import Client, closing_all
from flood import PREFACE, block, http2_frame
from running import becomes, running_proxy
from test_overload import bulk_upstream
from tunnelled import get


def unsent(connections: str) -> list[int]:
    """The bytes of each connection for which its peer has no room; of those that have some."""
    command = ["ss", "--no-header", "--tcp", "--numeric", "--info", "state", "established"]
    done = subprocess.run([*command, connections], capture_output=True, text=True, check=True)
    return [int(number) for number in re.findall(r"notsent:([0-9]+)", done.stdout)]


async def some_wait(connections: str, count: int) -> list[int]:
    """The bytes that wait, as soon as *count* connections have some."""
    found: list[int] = []

    async def enough() -> bool:
        found[:] = unsent(connections)
        return len(found) == count

    await becomes(True, enough)
    return found


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_little_waits_in_the_kernel_for_a_client_that_stops_reading(
    tmp_path: Path, alpn: str
) -> None:
    async with bulk_upstream() as port:
        routes = {"flood": f"http://127.0.0.1:{port}"}
        async with running_proxy(tmp_path, routes) as proxy:
            with closing_all() as clients:
                for _ in range(5):
                    clients.append(client := Client(proxy.port))
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
                    client.open_websocket()
                    client.open_tls(proxy.client_tls(alpn), "flood")
                    asked = PREFACE + http2_frame(1, 1, block("flood"), 5)
                    client.send(asked if alpn == "h2" else get("flood"))
                    client.read()

                # By itself, the kernel takes 2.6 MB.
                assert max(await some_wait(f"sport = :{proxy.port}", len(clients))) < 400_000
