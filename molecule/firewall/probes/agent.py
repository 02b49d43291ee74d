"""Send and receive as the users of a machine. Runs there as root, with only Python's own library.

One JSON message a line comes in, one answer a line goes out. ``{"run": ARGV}`` runs a command.
``{"users": {USER: MESSAGE}}`` gives each user's process its message, all at once; a process is made
with its user's identity and nothing else, no capability and no other group. Its messages:

``handed``: only as the first: sockets (key, address, port) that root opens for it, bound like what
is left of a listening one that its new holder has closed.
``listen``: places (protocol, address, port) to listen at; what comes is noted and sent back.
``send``: probes. Each goes out from a source port of its own (one that is kept goes on with the
next probe from there; one that was handed over is used) and ends with an outcome: ``answered``,
``connected`` if there is nothing to send, ``closed``, ``silent``, or the name of an error
(``ECONNREFUSED``, …).
``heard``: the data that the listeners got. ``{"end": true}`` ends all users' processes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import os
import pwd
import signal
import socket
import struct
import subprocess
import sys
import traceback
from functools import partial
from typing import Any

_LARGEST = 4096
_LINE = 1 << 24


#: Protocol of a probe -> kind and protocol number of its socket. Raw ones send the given packets.
_KINDS = {
    "tcp": (socket.SOCK_STREAM, 0),
    "mptcp": (socket.SOCK_STREAM, 262),
    "udp": (socket.SOCK_DGRAM, 0),
    "icmp": (socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "segment": (socket.SOCK_RAW, socket.IPPROTO_TCP),
}


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _place(address: str, port: int) -> tuple[Any, ...]:
    if address.startswith("fe80:"):
        return (address, port, 0, socket.if_nametoindex("eth0"))
    return (address, port)


def _socket(probe: dict[str, Any]) -> socket.socket:
    kind, number = _KINDS[probe["protocol"]]
    family = _family(probe["address"])
    if probe["protocol"] == "icmp" and family == socket.AF_INET6:
        number = socket.IPPROTO_ICMPV6
    sock = socket.socket(family, kind, number)
    if probe["protocol"] == "mptcp":  # getaddrinfo() refuses its number
        sock = socket.socket(family, kind, 0, sock.detach())
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind == socket.SOCK_STREAM:  # ends with a reset: no port is left waiting
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if kind != socket.SOCK_RAW:
        sock.bind(("", probe["source"]))
    return sock


def _handed(place: dict[str, Any]) -> socket.socket:
    """A socket that one user opens and another one uses."""
    sock = socket.socket(_family(place["address"]), socket.SOCK_STREAM)
    sock.setblocking(False)
    # Others listen there, and another user has accepted their connections: it is bound beside them.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.bind((place["address"], place["port"]))
    return sock


class _User:
    """The work of one user's process."""

    def __init__(self, handed: dict[str, socket.socket]) -> None:
        self.heard: list[dict[str, Any]] = []
        self._servers: list[Any] = []
        self._handed = handed
        self._kept: dict[tuple[Any, ...], socket.socket] = {}

    async def listen(self, places: list[dict[str, Any]]) -> str:
        for place in places:
            address, port = place["address"], place["port"]
            kind, number = _KINDS[place["protocol"]]
            sock = socket.socket(_family(address), kind, number)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if kind == socket.SOCK_STREAM and not number:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if ":" in address:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(_place(address, port))
            sock.setblocking(False)
            if kind == socket.SOCK_STREAM:
                self._servers.append(
                    await asyncio.start_server(partial(self._carry, port), sock=sock)
                )
            else:
                asyncio.get_running_loop().add_reader(sock, self._datagram, sock, port)
                self._servers.append(sock)
        return "listening"

    def _note(self, protocol: str, port: int, peer: tuple[str, int], data: bytes) -> None:
        text = data.decode("latin-1")
        self.heard.append(
            {"protocol": protocol, "port": port, "peer": list(peer[:2]), "text": text}
        )

    async def _carry(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_LARGEST):
                self._note("tcp", port, writer.get_extra_info("peername"), data)
                writer.write(data)
        writer.close()

    def _datagram(self, sock: socket.socket, port: int) -> None:
        data, peer = sock.recvfrom(_LARGEST)
        self._note("udp", port, peer, data)
        with contextlib.suppress(OSError):
            sock.sendto(data, peer)

    async def send(self, probes: list[dict[str, Any]]) -> dict[str, str]:
        outcomes = await asyncio.gather(*(self._probe(probe) for probe in probes))
        return {probe["id"]: outcome for probe, outcome in zip(probes, outcomes)}

    async def _probe(self, probe: dict[str, Any]) -> str:
        try:
            return await asyncio.wait_for(self._exchange(probe), probe["wait"])
        except asyncio.TimeoutError:
            return "silent"
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error))

    async def _exchange(self, probe: dict[str, Any]) -> str:
        loop = asyncio.get_running_loop()
        key = (probe["source"], probe["address"], probe["port"])
        kept = self._kept.get(key)
        sock = kept or self._handed.pop(probe["handed"], None) or _socket(probe)
        try:
            if sock.type == socket.SOCK_RAW:
                sock.connect(_place(probe["address"], 0))
            elif not kept:
                address = probe["address"]
                if sock.family == socket.AF_INET6 and ":" not in address:
                    address = f"::ffff:{address}"
                await loop.sock_connect(sock, _place(address, probe["port"]))
            if not probe["data"]:
                return "connected"
            await loop.sock_sendall(sock, base64.b64decode(probe["data"]))
            answer = await loop.sock_recv(sock, _LARGEST)
            # A raw socket gets packets for others, too.
            while probe["protocol"] == "icmp" and probe["id"].encode() not in answer:
                answer = await loop.sock_recv(sock, _LARGEST)
        finally:
            if probe["keep"]:
                self._kept[key] = sock
            else:
                sock.close()
        return "answered" if answer else "closed"


async def _serve(channel: socket.socket, handed: dict[str, socket.socket]) -> None:
    reader, writer = await asyncio.open_connection(sock=channel, limit=_LINE)
    user = _User(handed)
    while line := await reader.readline():
        message = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "listen" in message:
                answer["listen"] = await user.listen(message["listen"])
            if "send" in message:
                answer["send"] = await user.send(message["send"])
            if "heard" in message:
                answer["heard"] = user.heard
        except OSError as error:
            answer["error"] = str(error)
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()


class _Process:
    """The process of one user, as root's process sees it."""

    def __init__(self, name: str, places: list[dict[str, Any]]) -> None:
        entry = pwd.getpwnam(name)
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            status = 1
            try:
                handed = {place["key"]: _handed(place) for place in places}
                os.setgroups([])
                os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
                os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
                asyncio.run(_serve(theirs, handed))
                status = 0
            except BaseException:
                traceback.print_exc()  # os._exit() would not
                raise
            finally:
                os._exit(status)
        theirs.close()
        self._channel = ours
        self._lines = ours.makefile("rb")

    def tell(self, message: Any) -> None:
        self._channel.sendall(json.dumps(message).encode() + b"\n")

    def answer(self) -> Any:
        return json.loads(self._lines.readline() or b'{"error": "the process has ended"}')

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _handle(processes: dict[str, _Process], message: dict[str, Any]) -> Any:
    if "run" in message:
        done = subprocess.run(message["run"], capture_output=True, text=True, check=False)
        said = {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
        return {"root": said}
    if "end" in message:
        while processes:
            processes.popitem()[1].end()
        return {}
    for name, words in message["users"].items():
        if name not in processes:
            processes[name] = _Process(name, words.get("handed", []))
        processes[name].tell(words)
    return {name: processes[name].answer() for name in message["users"]}


def main() -> None:
    processes: dict[str, _Process] = {}
    os.chdir("/")
    for line in sys.stdin:
        message = json.loads(line)
        answer = {"number": message["number"], "answer": _handle(processes, message)}
        print(json.dumps(answer), flush=True)
    _handle(processes, {"end": True})


main()
