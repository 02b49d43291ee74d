"""Writing past a transport, and what is left for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence

import pytest
from mcp_proxy.system.transports import send_at_once, send_pieces

Send = Callable[[int, Sequence[bytes]], Sequence[bytes]]


@pytest.mark.parametrize("send", [send_pieces, send_at_once])
def test_what_the_system_does_not_take_is_left(send: Send) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.setblocking(False)
        pieces = [os.urandom(70_000) for _ in range(100)]
        rest = send(ours.fileno(), pieces)
        assert 1 < len(rest) < 100
        peer.setblocking(False)
        got = bytearray()
        while len(got) < 7_000_000 - sum(map(len, rest)):
            got += peer.recv(1 << 20)
        assert bytes(got) + b"".join(rest) == b"".join(pieces)


def test_nothing_is_taken_by_a_socket_that_fails() -> None:
    ours, peer = socket.socketpair()
    with ours:
        peer.close()
        assert send_pieces(ours.fileno(), [b"one", b"two"]) == [b"one", b"two"]


@pytest.mark.parametrize("send", [send_pieces, send_at_once])
def test_a_socket_without_room_takes_nothing(send: Send) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.setblocking(False)
        while not send(ours.fileno(), [bytes(1 << 16)]):
            pass
        assert list(send(ours.fileno(), [b"one", b"two"])) == [b"one", b"two"]


def test_a_failure_is_left_to_the_next_read() -> None:
    ours, peer = socket.socketpair()
    with ours:
        peer.close()
        assert list(send_at_once(ours.fileno(), [b"one", b"two"])) == []
