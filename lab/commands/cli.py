"""`python -m lab …`: the laboratory's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..core.errors import LabError
from . import api, labs, network, tunnel


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="Hosts and emulators to test against.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (labs, network, tunnel, api):
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
