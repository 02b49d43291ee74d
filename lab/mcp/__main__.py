"""`python -m lab.mcp --name NAME --bind HOST:PORT --host NAME…`: runs one MCP server."""

from __future__ import annotations

import argparse

import uvicorn

from .server import application


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="lab.mcp")
    parser.add_argument("--name", required=True)
    parser.add_argument("--bind", required=True, metavar="HOST:PORT")
    parser.add_argument("--host", action="append", default=[], help="a Host header that is served")
    parser.add_argument("--certificate", help="PEM file; with --key: serve https")
    parser.add_argument("--key")
    arguments = parser.parse_args()
    address, _, port = arguments.bind.rpartition(":")
    uvicorn.run(
        application(arguments.name, arguments.host),
        host=address,
        port=int(port),
        ssl_certfile=arguments.certificate,
        ssl_keyfile=arguments.key,
        timeout_graceful_shutdown=1,
        log_level="info",
    )


if __name__ == "__main__":
    main()
