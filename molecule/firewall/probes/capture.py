"""Packets that tcpdump sees: the receiving side's evidence of what a firewall let through."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import IO, NamedTuple

from places import inside
from replicas import CHECKOUT

#: Source ports of probes: below the ports that the kernel takes for others.
SOURCES = range(21000, 32000)


_SECONDS_TO_SEE = 30.0


class Flow(NamedTuple):
    """One direction of a connection, or of datagrams between two ports."""

    protocol: str
    source: str
    source_port: int
    destination: str
    port: int


class Capture:
    """The packets of the probes at one place, since the capture was made."""

    def __init__(self, where: str, interface: str) -> None:
        wanted = f"portrange {SOURCES.start}-{SOURCES.stop - 1} or udp portrange 67-68 or "
        wanted += "udp portrange 546-547"
        # Whole Ethernet frames, and room for some thousands of them.
        options = ["-n", "-p", "-U", "--immediate-mode", "-s", "2048", "-B", "16384"]
        if where == "bridge":
            options.remove("-p")  # packets between its ports are not for the bridge itself
        self._process = subprocess.Popen(
            inside(where, "tcpdump", *options, "-i", interface, "-w", "-", wanted),
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._seen: dict[Flow, bytes] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        """Return as soon as every later packet is seen."""
        assert self._process.stderr is not None
        said = b""
        while b"listening on" not in said:
            line = self._process.stderr.readline()
            assert line, said.decode()
            said += line
        self._thread.start()

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode()
        self._process.wait()
        if kind is None:
            assert "\n0 packets dropped by kernel" in said, said

    def _read(self) -> None:
        assert self._process.stdout is not None
        for flow, payload in _packets(self._process.stdout):
            self._seen[flow] = self._seen.get(flow, b"") + payload

    def sees(self, flow: Flow, text: str) -> bool:
        """Wait until a packet with this text has been seen, and so all packets before it."""
        deadline = time.monotonic() + _SECONDS_TO_SEE
        while text.encode() not in self._seen.get(flow, b""):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def payload(self, flow: Flow) -> bytes | None:
        """Return the data that the flow carried; None if there was not a single packet."""
        return self._seen.get(flow)


def _packets(file: IO[bytes]) -> Iterator[tuple[Flow, bytes]]:
    """Read a pcap file of Ethernet frames, as it grows."""
    header = file.read(24)
    if len(header) < 24:
        return
    order = "<" if header[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    while len(record := file.read(16)) == 16:
        length = struct.unpack(order + "4I", record)[2]
        found = _flow(file.read(length))
        if found:
            yield found


def _flow(frame: bytes) -> tuple[Flow, bytes] | None:
    kind = struct.unpack(">H", frame[12:14])[0]
    if kind == 0x0800:
        number, family, addresses = frame[23], socket.AF_INET, frame[26:34]
        end = 14 + struct.unpack(">H", frame[16:18])[0]
        start = 14 + 4 * (frame[14] & 15)
    elif kind == 0x86DD:
        number, family, addresses = frame[20], socket.AF_INET6, frame[22:54]
        end = 54 + struct.unpack(">H", frame[18:20])[0]
        start = 54
    else:
        return None
    protocol = {6: "tcp", 17: "udp"}.get(number)
    if protocol is None:
        return None
    half = len(addresses) // 2
    source, destination = (
        socket.inet_ntop(family, each) for each in (addresses[:half], addresses[half:])
    )
    source_port, port = struct.unpack(">2H", frame[start : start + 4])
    body = start + (8 if protocol == "udp" else 4 * (frame[start + 12] >> 4))
    return Flow(protocol, source, source_port, destination, port), frame[body:end]
