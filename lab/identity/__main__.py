"""`python -m lab.identity --directory DIR --bind HOST:PORT…`: runs the identity platforms."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from ..wire.http_servers import configuration, serve
from .directory import IdentityDirectory
from .issuers import WORLD, below
from .platforms import Platforms
from .spiffe.workload import serve as serve_workload


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="lab.identity")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--bind", action="append", default=[], metavar="HOST:PORT", help="http")
    parser.add_argument("--bind-tls", metavar="HOST:PORT", help="https; with --certificate, --key")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument(
        "--issuers-below", metavar="URL", help="base of the issuers' URLs (default: the world's)"
    )
    asyncio.run(_serve(parser.parse_args()))


async def _serve(arguments: argparse.Namespace) -> None:
    directory = IdentityDirectory(arguments.directory)
    urls = below(arguments.issuers_below) if arguments.issuers_below else WORLD
    platforms = Platforms(directory, urls)
    application = platforms.application()

    servers = [configuration(application, place) for place in arguments.bind]
    if arguments.bind_tls:
        tls = {"ssl_certfile": arguments.certificate, "ssl_keyfile": arguments.key}
        servers.append(configuration(application, arguments.bind_tls, **tls))
    workload = await serve_workload(platforms.issuers["spiffe"], directory.workload)
    async with await platforms.control().listen(directory.control):
        await serve(*servers)
    await workload.stop(grace=1)


if __name__ == "__main__":
    main()
