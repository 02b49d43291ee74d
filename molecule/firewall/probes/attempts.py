"""Ways to get something out of a host, or into it, all tried at once.

Run as a program, by any user and in any sandbox, it reads a list of attempts as JSON
(each a list: name, function, arguments) and prints the outcome of each: an error's name, "no
answer", or one of SUCCESSES.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable

PATIENCE = 10.0  # seconds: a refusal is known at once
SUCCESSES = frozenset({"answered", "sent", "opened", "done"})
_CLONE_NEWUSER = 0x10000000
_FIRST_HANDED = 3
_TCP_FASTOPEN_CONNECT = 30
_BACKLOG = 4096  # that of the unit


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _mark(name: str) -> bytes:
    return f"attempt:{name}|\n".encode()


def tcp(name: str, address: str, port: int) -> str:
    """Connect, name the attempt, and wait for an answer."""
    with socket.socket(_family(address), socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((address, port))
        sock.sendall(_mark(name))
        sock.recv(1)
    return "answered"


def fast_open(name: str, address: str, port: int) -> str:
    """Send data in the first packet of a connection."""
    with socket.socket(_family(address), socket.SOCK_STREAM) as sock:
        _send_at_once(sock, _mark(name), address, port)
        sock.recv(1)
    return "answered"


def _send_at_once(sock: socket.socket, data: bytes, address: str, port: int) -> None:
    sock.settimeout(None)
    patience = struct.pack("ll", int(PATIENCE), 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
    sock.sendto(data, socket.MSG_FASTOPEN, (address, port))
    sock.settimeout(PATIENCE)


def handed(name: str, number: int, way: str, address: str, port: int) -> str:
    """Make a client of a listening socket that systemd has opened (sd_listen_fds(3))."""
    with socket.socket(fileno=os.dup(_FIRST_HANDED + number)) as sock:
        sock.settimeout(PATIENCE)
        try:
            _make_a_client(sock, name, way, address, port)
        finally:
            _listen_again(sock)
    return "answered"


def _make_a_client(sock: socket.socket, name: str, way: str, address: str, port: int) -> None:
    if way == "disconnect":
        _disconnect(sock)
    else:
        sock.shutdown(socket.SHUT_RD)
    if way == "fast open":
        _send_at_once(sock, _mark(name), address, port)
    else:
        if way == "fast open, by connect":
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_FASTOPEN_CONNECT, 1)
        if way == "another port":
            sock.bind((address, 0))
        sock.connect((address, port))
        sock.sendall(_mark(name))
    sock.recv(1)


def _listen_again(sock: socket.socket) -> None:
    """Leave systemd a socket on which nothing waits.

    It would start the unit again for the answer, or for the end of the connection, that it finds on
    its copy. With a job to stop the socket, it looks at the copy over and over, and does no job.
    """
    _disconnect(sock)
    sock.listen(_BACKLOG)


def _disconnect(sock: socket.socket) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    nowhere = struct.pack("H14x", socket.AF_UNSPEC)
    if libc.connect(sock.fileno(), nowhere, len(nowhere)):
        raise OSError(ctypes.get_errno(), "connect")


def udp(name: str, address: str, port: int, sport: int = 0) -> str:
    """Send a datagram, and wait for an answer or for the news that it was refused."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        if sport:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # several attempts at once
            sock.bind(("", sport))
        # A link-local address needs its scope.
        sock.connect(socket.getaddrinfo(address, port, sock.family, sock.type)[0][4])
        sock.send(_mark(name))
        sock.recv(1)
    return "answered"


def broadcast(name: str, address: str, port: int) -> str:
    """Send a datagram to everybody on the link."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        scope = (0, socket.if_nametoindex("eth0")) if ":" in address else ()
        for _ in range(2):
            sock.sendto(_mark(name), (address, port, *scope))
    return "sent"


def resolve(name: str, server: str, protocol: str) -> str:
    """Carry the attempt's name out in a query to a name server."""
    label = name.replace(" ", "-").encode()
    question = b"\0\1\1\0\0\1\0\0\0\0\0\0" + bytes([len(label)]) + label + b"\6tunnel\0\0\20\0\1"
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(_family(server), kind) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((server, 53))
        sock.send(len(question).to_bytes(2, "big") + question if protocol == "tcp" else question)
        sock.recv(1)
    return "answered"


def opened(_name: str, family: int, kind: int, protocol: int = 0) -> str:
    """Open a socket of a kind that a network service does not need."""
    socket.socket(family, kind, protocol).close()
    return "opened"


def transport(name: str, address: str, port: int, kind: int, protocol: int) -> str:
    """Send a datagram, or connect, over a transport that no rule names."""
    with socket.socket(_family(address), kind, protocol) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((address, port))
        for _ in range(2):
            sock.send(_mark(name))
    return "sent"


def ping(name: str, address: str) -> str:
    """Send an echo request of the kernel's: a user of the right group needs no raw socket."""
    family = _family(address)
    kind, protocol = (128, 58) if family == socket.AF_INET6 else (8, 1)
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((address, 0))
        sock.send(bytes([kind]) + bytes(7) + _mark(name))
        sock.recv(1)
    return "answered"


def namespace(name: str, address: str, port: int) -> str:
    """Become root of a user namespace, which does not own the host's network, and send."""
    _unshare()
    return udp(name, address, port)


def raw_in_namespace(_name: str) -> str:
    """Do the same with a raw socket."""
    _unshare()
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
    return "opened"


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")


def helper(name: str, program: str, function: str, *arguments: object) -> str:
    """Make the attempt with a program that gives its caller more rights."""
    nested = [[name, function, *arguments]]
    done = subprocess.run(
        [program, __file__],
        input=json.dumps(nested),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        return f"exit {done.returncode}"
    return str(json.loads(done.stdout)[name])


def command(_name: str, *argv: str) -> str:
    """Run a command of the host's."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return "done" if done.returncode == 0 else f"exit {done.returncode}"


def shell(_name: str, port: int) -> str:
    """Listen on every address, as a bind shell does, until somebody has connected."""
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        server.settimeout(4 * PATIENCE)
        with contextlib.suppress(TimeoutError):
            connection, peer = server.accept()
            connection.close()
            return f"answered {peer[0]}"
    return "nobody came"


_FUNCTIONS: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        *(tcp, fast_open, handed, udp, broadcast, resolve, opened, transport, ping),
        *(namespace, raw_in_namespace, helper, command, shell),
    )
}


def begin(name: str, function: str, *arguments: object) -> tuple[str, int, int]:
    """Try in a new process, which may end as another user; return name, pipe and process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            outcome = _FUNCTIONS[function](name, *arguments)
        except TimeoutError:
            outcome = "no answer"
        except OSError as error:
            outcome = errno.errorcode.get(error.errno or 0, repr(error))
        os.write(writing, outcome.encode())
        os._exit(0)
    os.close(writing)
    return name, reading, child


def outcome_of(reading: int, child: int) -> str:
    """Return the outcome of an attempt."""
    with os.fdopen(reading) as stream:
        outcome = stream.read()
    os.waitpid(child, 0)
    return outcome or "killed"


if __name__ == "__main__":
    begun = [begin(*attempt) for attempt in json.load(sys.stdin)]
    print(json.dumps({name: outcome_of(reading, child) for name, reading, child in begun}))
