"""`python -m lab …`: the laboratory's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import api_commands, commands, net_commands, tunnel_commands
from .core.errors import LabError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="Hosts and emulators to test against.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (commands, net_commands, tunnel_commands, api_commands):
        group.add_parsers(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status
