"""A client that calls a tool through the tunnel 20 times a second, on a new connection each time.

As the vendor's backend would, it trusts the CAs that are registered on the tunnel at that moment.
Run as a program, it prints one JSON object per call until SIGTERM, and ends when the last call has.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_INTERVAL = 1 / 20  # seconds
_AT_ONCE = 16
_REVISION = "2026-07-28"  # of the protocol: one request per call


@dataclass
class Calls:
    """Results of the calls: each has ``at``, seconds since the first, and ``error``, a text."""

    made: list[dict[str, Any]] = field(default_factory=list)

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [call for call in self.made if call["error"]]


@contextmanager
def calling(run: Path, front: str, tunnel_id: str, ca: str = "") -> Iterator[Calls]:
    """Call all the time; the results are known when the block has ended.

    *ca* is trusted (PEM) while no CA is registered: in mode manual, the edge then lets any through.
    """
    process = subprocess.Popen(
        [sys.executable, __file__, str(run), front, tunnel_id, ca],
        stdout=subprocess.PIPE,
        text=True,
    )
    calls = Calls()
    try:
        assert process.stdout is not None
        calls.made.append(json.loads(process.stdout.readline()))  # it has begun
        reader = threading.Thread(target=lambda: calls.made.extend(map(json.loads, process.stdout)))
        reader.start()
        yield calls
    finally:
        process.terminate()
        process.wait(60)
    reader.join()
    assert process.returncode == 0


def _registered(run: Path, tunnel_id: str) -> tuple[str, str]:
    """Return the tunnel's domain and registered CAs (PEM), as the API has them at this moment."""
    state = json.loads((run / "api" / "state.json").read_text())
    tunnel = next(each for each in state["tunnels"] if each["id"] == tunnel_id)
    pems = [each["pem"] for each in tunnel["certificates"] if not each["archived_at"]]
    return tunnel["domain"], "\n".join(pems)


def main() -> None:
    """Run the client; see the module."""
    from lab.mcp.call import call

    run, front, tunnel_id, ca = Path(sys.argv[1]), *sys.argv[2:]
    stop, printing = threading.Event(), threading.Lock()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    began = time.monotonic()

    def one(number: int) -> None:
        at = time.monotonic() - began
        error = ""
        try:
            domain, trusted = _registered(run, tunnel_id)
            text = f"call {number}"
            host = f"echo.{domain}"
            answer = call(front, trusted or ca, host, "echo", {"text": text}, mode=_REVISION)
            if text not in answer:
                error = f"answered {answer!r}"
        except Exception as raised:
            error = repr(raised)
        with printing:
            print(json.dumps({"at": round(at, 3), "error": error}), flush=True)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        number = 0
        while not stop.is_set():
            pool.submit(one, number)
            number += 1
            stop.wait(max(0.0, began + number * _INTERVAL - time.monotonic()))


if __name__ == "__main__":
    main()
