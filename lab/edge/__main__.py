"""`python -m lab.edge --directory DIR --listen HOST:PORT… --front-fd N`: runs the edge."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
from pathlib import Path

from ..tunnels_api.directory import ApiDirectory
from . import rpc
from .connectors import Connectors, tls_context
from .control import EdgeControl
from .directory import EdgeDirectory
from .front import FrontDoor
from .udp import VersionNegotiation

_CHUNK = 1 << 18


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="lab.edge")
    parser.add_argument("--directory", type=Path, required=True, help="a filled EdgeDirectory")
    parser.add_argument("--api", type=Path, required=True, help="a filled ApiDirectory")
    parser.add_argument("--listen", action="append", required=True, metavar="HOST:PORT")
    parser.add_argument(
        "--front-fd",
        type=int,
        default=os.environ.get("LAB_FD_EDGE"),
        help="listening socket for clients (default: the one that the lab hands down)",
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_serve(parser.parse_args()))


async def _serve(arguments: argparse.Namespace) -> None:
    directory = EdgeDirectory(arguments.directory, ApiDirectory(arguments.api).store)
    connectors = Connectors(directory)
    front = FrontDoor(connectors)
    control = EdgeControl(connectors, front).server()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with rpc.event_loop():
        servers = []
        for place in arguments.listen:
            host, _, port = place.rpartition(":")
            servers.append(
                await asyncio.start_server(
                    connectors.serve,
                    host.strip("[]"),
                    int(port),
                    ssl=tls_context(directory),
                    limit=_CHUNK,
                )
            )
            await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: VersionNegotiation(lambda: connectors.udp),
                local_addr=(host.strip("[]"), int(port)),
            )
        servers.append(
            await asyncio.start_server(
                front.serve, sock=socket.socket(fileno=arguments.front_fd), limit=_CHUNK
            )
        )
        servers.append(await control.listen(directory.control))
        await stop.wait()
        for server in servers:
            server.close()
        connectors.drop()


if __name__ == "__main__":
    main()
