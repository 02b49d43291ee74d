"""A client that calls a tool through the tunnel all the time, on a new connection each time.

As the vendor's backend would, it trusts the CAs that are registered on the tunnel at that moment.
Each call is one request, made by hand: a whole MCP client costs four times as much processor time,
which the playbooks beside it need. (``lab call`` is such a client; each scenario uses it, too.)
Run as a program, it prints one JSON object per call until SIGTERM, and ends when the last call has.
"""

from __future__ import annotations

import functools
import http.client
import json
import signal
import socket
import ssl
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

RATE = 20  # calls a second
_AT_ONCE = 16
_REVISION = "2026-07-28"  # of the protocol: one request per call
_SECONDS = 90  # for a call, as lab call has them
_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "MCP-Protocol-Version": _REVISION,
    "Mcp-Method": "tools/call",
    "Mcp-Name": "echo",
}


@dataclass
class Calls:
    """Results of the calls: each has ``at``, seconds since the first, and ``error``, a text."""

    made: list[dict[str, Any]] = field(default_factory=list)

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [call for call in self.made if call["error"]]


@contextmanager
def calling(
    run: Path, front: str, tunnel_id: str, ca: str = "", rate: int = RATE
) -> Iterator[Calls]:
    """Call *rate* times a second; the results are known when the block has ended.

    *ca* is trusted (PEM) while no CA is registered: in mode manual, the edge then lets any through.
    """
    process = subprocess.Popen(
        [sys.executable, __file__, str(run), front, tunnel_id, ca, str(rate)],
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
        process.wait(240)
    reader.join()
    assert process.returncode == 0


def _registered(run: Path, tunnel_id: str) -> tuple[str, str]:
    """Return the tunnel's domain and registered CAs (PEM), as the API has them at this moment."""
    state = json.loads((run / "api" / "state.json").read_text())
    tunnel = next(each for each in state["tunnels"] if each["id"] == tunnel_id)
    pems = [each["pem"] for each in tunnel["certificates"] if not each["archived_at"]]
    return tunnel["domain"], "\n".join(pems)


@functools.lru_cache(maxsize=4)  # in a rotation, calls with the old CAs are still under way
def _trusting(trusted: str) -> ssl.SSLContext:
    """Return the settings of a client that trusts these CAs; to make them takes a millisecond."""
    return ssl.create_default_context(cadata=trusted)


def _call(front: str, trusted: str, host: str, text: str) -> str:
    """Call the tool ``echo`` and return its answer's text. Raises an error of whatever kind."""
    address, _, port = front.rpartition(":")
    # The protocol's own words for the client; its capabilities are none.
    own = "io.modelcontextprotocol/"
    about = {"protocolVersion": _REVISION, "clientInfo": {"name": "caller", "version": "1"}}
    meta = {own + name: value for name, value in {**about, "clientCapabilities": {}}.items()}
    asked = {"name": "echo", "arguments": {"text": text}, "_meta": meta}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked}
    connection = http.client.HTTPConnection(host)
    with (
        socket.create_connection((address, int(port)), _SECONDS) as plain,
        _trusting(trusted).wrap_socket(plain, server_hostname=host) as connection.sock,
    ):
        connection.request("POST", "/mcp", json.dumps(request), _HEADERS)
        answer = connection.getresponse()
        body = answer.read().decode()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {body}")
    return str(json.loads(body)["result"]["content"][0]["text"])


def main() -> None:
    """Run the client; see the module."""
    run, front, tunnel_id, ca, rate = Path(sys.argv[1]), *sys.argv[2:]
    interval = 1 / int(rate)
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
            answer = _call(front, trusted or ca, host, text)
            if answer != text:
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
            stop.wait(max(0.0, began + number * interval - time.monotonic()))
        # On a machine that is slower than that, calls wait for their turn: these are not made.
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
