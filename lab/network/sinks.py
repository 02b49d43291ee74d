"""`python -m lab.network.sinks --listen tcp:HOST:PORT…`: takes what comes, notes it, sends it back.

One JSON line on standard output for each connection and datagram: `protocol`, `at` and `peer`
(address and port), `data` (the first bytes of it as Latin-1 text).
"""

from __future__ import annotations

import argparse
import asyncio
import json
from functools import partial

_LARGEST = 4096
_NOTED = 200


def _note(protocol: str, at: str, peer: tuple[str, int], data: bytes) -> None:
    entry = {"protocol": protocol, "at": at, "peer": f"{peer[0]}:{peer[1]}"}
    print(json.dumps({**entry, "data": data[:_NOTED].decode("latin-1")}), flush=True)


async def _carry(at: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    peer = writer.get_extra_info("peername")
    try:
        data = first = await reader.read(_LARGEST)
        _note("tcp", at, peer, first)
        while data:
            writer.write(data)
            await writer.drain()
            data = await reader.read(_LARGEST)
    except ConnectionError:
        pass  # the peer needs nothing more
    finally:
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, at: str) -> None:
        self._at = at
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        _note("udp", self._at, addr, data)
        self._transport.sendto(data, addr)


async def _serve(places: list[str]) -> None:
    loop = asyncio.get_running_loop()
    for place in places:
        protocol, _, at = place.partition(":")
        host, _, port = at.rpartition(":")
        address = (host.strip("[]"), int(port))
        if protocol == "tcp":
            await asyncio.start_server(partial(_carry, at), *address)
        else:
            await loop.create_datagram_endpoint(partial(_Datagrams, at), local_addr=address)
    print(json.dumps({"listening": places}), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="lab.network.sinks")
    parser.add_argument("--listen", action="append", default=[], metavar="PROTOCOL:HOST:PORT")
    asyncio.run(_serve(parser.parse_args().listen))


if __name__ == "__main__":
    main()
