from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from mcp_proxy.process.sdnotify import Notifier


def listen(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.bind(address)
    return sock


@pytest.mark.parametrize("abstract", [False, True])
def test_states_arrive(tmp_path: Path, abstract: bool) -> None:
    name = f"mcp-proxy-test-{os.getpid()}"
    path = str(tmp_path / "notify")
    with listen(f"\0{name}" if abstract else path) as sock:
        notifier = Notifier({"NOTIFY_SOCKET": f"@{name}" if abstract else path})
        notifier.ready("2 routes")
        assert sock.recv(500) == b"READY=1\nSTATUS=2 routes"
        notifier.alive()
        assert sock.recv(500) == b"WATCHDOG=1"
        notifier.reloading()
        assert sock.recv(500).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        notifier.stopping("finishing", 40)
        assert sock.recv(500) == b"STOPPING=1\nSTATUS=finishing\nEXTEND_TIMEOUT_USEC=40000000"


def test_silent_without_systemd(tmp_path: Path) -> None:
    Notifier({}).ready("x")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_watchdog_interval(environ: dict[str, str], interval: float) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/x", **environ}).watchdog_interval == interval
    assert Notifier(environ).watchdog_interval == 0
