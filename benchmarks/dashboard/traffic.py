"""The traffic of a recording: MCP clients that call tools, and some trouble."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab.core.errors import LabError
from lab.mcp.call import call

_CLIENTS = 2
_PAUSE_SECONDS = (0.2, 1.5)
_CALLS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("echo", "echo", {"text": "Hello from inside the private network"}),
    ("echo", "add", {"a": 2, "b": 3}),
    ("secure", "echo", {"text": "Hello" * 500}),
    ("nothere", "echo", {"text": "a name without a route"}),
)
_ODDS = (16, 10, 12, 1)


@contextlib.contextmanager
def clients(front: str, ca: str, domain: str) -> Iterator[None]:
    """Some clients that call tools until this is over, one after the other, at random.

    :param front: host and port of the edge's front door
    :param ca: PEM of the tunnel's CA
    :param domain: the tunnel's domain
    """
    over = threading.Event()

    def work(seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311
        while not over.is_set():
            ((route, tool, arguments),) = dice.choices(_CALLS, _ODDS)
            # Calls that fail while the edge is gone, or for want of a route, are in the picture.
            with contextlib.suppress(LabError):
                call(front, ca, f"{route}.{domain}", tool, arguments, http2=dice.random() < 0.5)
            over.wait(dice.uniform(*_PAUSE_SECONDS))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


class Trouble:
    """The trouble that the replicas get, at times that are parts of the recording."""

    def __init__(self, lab: str, ssh_config: Path, hosts: list[str]) -> None:
        self._lab = lab
        self._ssh = ["ssh", "-F", str(ssh_config)]
        self._hosts = hosts

    def go_through(self, seconds: float) -> None:
        """Wait for *seconds*, and cause the trouble meanwhile."""
        first, *_, last = self._hosts
        plan: list[tuple[float, Callable[[], None]]] = [
            (0.1, lambda: self._on(last, _KILL_A_WORKER)),
            (0.18, lambda: self._on(first, "systemctl reload mcp-proxy@default")),
            (0.25, lambda: self._on(first, _STRANGER)),
            (0.35, lambda: self._edge("refuse", "drop")),
            (0.62, lambda: self._edge("accept")),
        ]
        begin = time.monotonic()
        for part, act in plan:
            time.sleep(max(0.0, begin + part * seconds - time.monotonic()))
            act()
        time.sleep(max(0.0, begin + seconds - time.monotonic()))

    def _on(self, host: str, command: str) -> None:
        command = f"sudo sh -c '{command}'"
        subprocess.run([*self._ssh, host, command], check=False)  # noqa: S603

    def _edge(self, *verbs: str) -> None:
        for verb in verbs:
            command = [sys.executable, "-m", "lab", "edge", self._lab, verb]
            subprocess.run(command, check=True)  # noqa: S603


_KILL_A_WORKER = "kill -9 $(pgrep -n -P $(systemctl show -P MainPID mcp-proxy@default))"
#: A user of the host who is not meant to tries the proxy's listener.
_STRANGER = (
    "setpriv --reuid nobody --clear-groups python3 -c "
    '"import socket; socket.create_connection((\\"127.0.0.1\\", 8080))" 2>/dev/null'
)
