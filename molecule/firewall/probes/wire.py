"""Packets that leave a host, seen from outside of it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from replicas import HOSTS, LAB, shell

#: Programs in the laboratory's own network, where all hosts hang on a bridge.
BRIDGE = ("nsenter", f"--target={LAB['supervisor']}", "--net")
#: A host may always send to it, and nothing surprises it.
_RESOLVER, _PORT = "10.77.0.1", 53
_END = "the end of it"
# A host always sends these: SSH, the connector's connections, and what IPv6 needs on a link.
_OTHERS = (
    "not arp and not tcp port 22 and not port 7844"
    " and not (icmp6 and ip6[40] >= 133 and ip6[40] <= 136) and not (ip6 and ip6[6] = 0)"
)


class Wire:
    """Packets that a host has sent, as tcpdump shows them, with their data."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self._name = name
        self._process = process
        self._lines: list[str] = []
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if _END in line:
                self._ended.set()
            self._lines.append(line)

    def packets(self) -> str:
        """Return everything that was sent before this moment."""
        # Once this last packet is seen, everything before it has been seen.
        shell(self._name).check_output(
            "python3 -c 'import socket; s = socket.socket(2, 2);"
            f' s.sendto(b"{_END}", ("{_RESOLVER}", {_PORT}))\''
        )
        assert self._ended.wait(120), "the wire shows nothing"
        text = "".join(self._lines)
        return text[: text.rindex(f"> {_RESOLVER}.{_PORT}:")].rpartition("\n")[0]


@contextmanager
def wire(name: str) -> Iterator[Wire]:
    """Watch what a host sends."""
    process = subprocess.Popen(
        [
            *(*BRIDGE, "tcpdump", "-nn", "-l", "-A", "-Q", "in", "-i", f"port{HOSTS.index(name)}"),
            _OTHERS,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        assert process.stderr is not None
        while "listening on" not in (said := process.stderr.readline()):
            assert said, "tcpdump has ended"
        yield Wire(name, process)
    finally:
        process.terminate()
        process.wait(60)
