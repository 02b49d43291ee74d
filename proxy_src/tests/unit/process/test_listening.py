"""Sockets for the workers: bound, shared out, and taken over as systemd passes them."""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp_proxy.config.model import Address
from mcp_proxy.process import listening

ANY = Address("127.0.0.1", 0)


@pytest.fixture
def bound() -> Iterator[list[socket.socket]]:
    sockets = listening.bind(ANY, 3)
    yield sockets
    for sock in sockets:
        sock.close()


def test_one_for_each_worker_on_one_port(bound: list[socket.socket]) -> None:
    assert len({sock.getsockname() for sock in bound}) == 1
    port = bound[0].getsockname()[1]
    clients = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(60)]
    for _ in clients:
        ready, _, _ = select.select(bound, [], [], 5)
        ready[0].accept()[0].close()
    for client in clients:
        client.close()


def test_a_port_in_use_is_refused_even_to_the_same_user(bound: list[socket.socket]) -> None:
    port = bound[0].getsockname()[1]
    with pytest.raises(OSError, match="in use") as caught:
        listening.bind(Address("127.0.0.1", port), 2)
    assert caught.value.errno == errno.EADDRINUSE


def test_no_host_means_every_family() -> None:
    sockets = listening.bind(Address("", 0), 2)
    families = [sock.family for sock in sockets]
    assert families.count(socket.AF_INET) == 2
    assert families.count(socket.AF_INET6) in (0, 2)  # a host may be without IPv6
    for sock in sockets:
        sock.close()


def test_an_address_of_another_machine() -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno says it
        listening.bind(Address("192.0.2.1", 0), 1)
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize(
    ("sockets", "workers", "expected"),
    [
        (4, 2, [[0, 2], [1, 3]]),
        (3, 2, [[0, 2], [1]]),
        (1, 3, [[0], [0], [0]]),
        (2, 3, [[0], [1], [0]]),
    ],
)
def test_every_socket_has_a_worker_and_every_worker_a_socket(
    sockets: int, workers: int, expected: list[list[int]]
) -> None:
    numbers: list[socket.socket] = list(range(sockets))  # type: ignore[arg-type]
    shares = [listening.share(numbers, worker, workers) for worker in range(workers)]
    assert shares == expected


def test_what_systemd_passes(bound: list[socket.socket]) -> None:
    """Runs in its own process, as descriptors 3 and up belong to the test here."""
    code = (
        "import os, sys\n"
        "from mcp_proxy.process import listening\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "sockets = listening.inherited(os.environ)\n"
        "print(len(sockets), sockets[0].getsockname()[1], sockets[0].get_inheritable(),\n"
        "      sockets[0].getblocking(), [n for n in os.environ if n.startswith('LISTEN_')])\n"
    )
    first, second = (sock.fileno() for sock in bound[:2])
    shell = f'exec "$0" -c "$1" 3<&{first} 4<&{second}'
    done = subprocess.run(
        ["/bin/bash", "-c", shell, sys.executable, code],
        env={
            **os.environ,
            "LISTEN_FDS": "2",
            "PYTHONPATH": str(Path(__file__).parents[3] / "src"),
        },
        pass_fds=[first, second],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split(maxsplit=2) == [
        "2",
        str(bound[0].getsockname()[1]),
        "False False []\n",
    ]


@pytest.mark.parametrize("pid", ["", "1", "x"])
def test_what_was_passed_to_another_process_is_not_ours(pid: str) -> None:
    environ = {"LISTEN_PID": pid, "LISTEN_FDS": "1", "PATH": "/"}
    assert listening.inherited(environ) == []
    assert environ == {"PATH": "/"}


def test_sockets_that_do_not_fit(bound: list[socket.socket]) -> None:
    port = bound[0].getsockname()[1]
    for fitting in (Address("127.0.0.1", port), Address("localhost", port), Address("", 0)):
        assert listening.mismatch(bound, fitting) == ""
    for other in (Address("127.0.0.1", port + 1), Address("127.0.0.2", port)):
        assert listening.mismatch(bound, other) == f"a socket that listens on 127.0.0.1:{port}"
    with socket.socket() as idle, socket.socket(socket.AF_UNIX) as local:
        for sock in (idle, local):
            assert "listening TCP socket" in listening.mismatch([sock], ANY)


def test_the_admin_listener_is_told_from_the_others(bound: list[socket.socket]) -> None:
    listen = Address("127.0.0.1", bound[0].getsockname()[1])
    (passed,) = listening.bind(ANY, 1)
    with passed:
        admin = Address("127.0.0.1", passed.getsockname()[1])
        everything = [bound[0], passed, *bound[1:]]
        assert listening.split(everything, listen, admin) == (bound, [passed])
        assert listening.split([passed], listen, admin) == ([], [passed])
        assert listening.split(bound, listen, admin) == (bound, [])
        # A socket that belongs to neither is the listener's problem.
        for other in (None, ANY, Address("127.0.0.1", 1)):
            assert listening.split(everything, listen, other) == (everything, [])
