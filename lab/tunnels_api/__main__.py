"""`python -m lab.tunnels_api --directory DIR --bind HOST:PORT`: runs the Tunnels API."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
from pathlib import Path

from ..wire.dialled import DialledTransport
from ..wire.http_servers import configuration, serve
from .application import Api
from .auth.jwks import IssuerKeys
from .control import ApiControl
from .cutting import CuttableProtocol
from .directory import ApiDirectory


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="lab.tunnels_api")
    parser.add_argument("--directory", type=Path, required=True, help="a filled ApiDirectory")
    parser.add_argument("--bind", required=True, metavar="HOST:PORT")
    parser.add_argument("--certificate", help="PEM file; with --key: serve https")
    parser.add_argument("--key")
    parser.add_argument(
        "--issuers-at", metavar="HOST:PORT", help="dial this for every issuer; needs --issuers-ca"
    )
    parser.add_argument("--issuers-ca", type=Path, help="CA of the issuers' certificates")
    arguments = parser.parse_args()
    host = arguments.bind.rpartition(":")[0].strip("[]")
    if not arguments.certificate and not ipaddress.ip_address(host).is_loopback:
        parser.error("--bind: plain http is for loopback only; give --certificate and --key")
    asyncio.run(_serve(arguments))


async def _serve(arguments: argparse.Namespace) -> None:
    directory = ApiDirectory(arguments.directory)
    keys = IssuerKeys()
    if arguments.issuers_at:
        ca = arguments.issuers_ca.read_text()
        keys = IssuerKeys(lambda: DialledTransport(arguments.issuers_at, ca))
    api = Api(directory.store, directory.audit, keys)
    config = configuration(
        api.application(),
        arguments.bind,
        http=CuttableProtocol,
        ssl_certfile=arguments.certificate,
        ssl_keyfile=arguments.key,
    )
    async with await ApiControl(api).server().listen(directory.control):
        await serve(config)


if __name__ == "__main__":
    main()
