"""A client in the middle of a tool call that goes on until SIGTERM.

Run as a program, it prints the time at which each piece of progress arrived (monotonic, seconds).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# The tool takes no more than 600 s.
_LONG = {"to": 2400, "seconds_apart": 0.25}
_SILENCE = 120.0  # seconds until the client gives up
_UNDER_WAY = 1.0  # seconds until everything sent before has arrived


class Stream:
    """A call that goes on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def goes_on(self) -> None:
        """Wait for progress that was made after this moment."""
        moment = time.monotonic() + _UNDER_WAY
        assert self._process.stdout is not None
        while True:
            line = self._process.stdout.readline()
            assert line, "the stream has ended"
            if float(line) > moment:
                return


@contextmanager
def streaming(front: str, ca: str, host: str, transport: str) -> Iterator[Stream]:
    """Call a tool; the block begins when the call is under way."""
    process = subprocess.Popen(
        [sys.executable, __file__, front, ca, host, transport], stdout=subprocess.PIPE, text=True
    )
    try:
        stream = Stream(process)
        stream.goes_on()
        yield stream
    finally:
        process.terminate()
        process.wait(120)


async def _stream(front: str, ca: str, host: str, transport: str) -> None:
    import httpx2
    from mcp.client import Client
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    from lab.wire.dialled import DialledTransport

    def http_client(
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        silence = httpx2.Timeout(_SILENCE)
        return httpx2.AsyncClient(
            transport=DialledTransport(front, ca), headers=headers, timeout=silence, auth=auth
        )

    async def arrived(_progress: float, _total: float | None, _message: str | None) -> None:
        print(time.monotonic(), flush=True)

    async with http_client() as http:
        server = (
            sse_client(f"https://{host}/sse", httpx_client_factory=http_client)
            if transport == "sse"
            else streamable_http_client(f"https://{host}/mcp", http_client=http)
        )
        async with Client(server, mode="legacy") as client:
            await client.call_tool("count", _LONG, progress_callback=arrived)


if __name__ == "__main__":
    import asyncio

    asyncio.run(_stream(*sys.argv[1:]))
