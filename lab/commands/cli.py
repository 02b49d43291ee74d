"""`python -m lab …`: the laboratory's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from ..core.errors import LabError

#: The modules of the commands. Each loads a lot for its own, and tests start many commands.
_FAMILIES = {
    "labs": ("up", "down", "list", "status", "host"),
    "rootfs": ("rootfs",),
    "network": ("net",),
    "tunnel": ("edge", "call"),
    "api": ("api",),
}


def _families(command: str) -> list[ModuleType]:
    """The module that adds the command; all of them if none does."""
    names = [name for name, commands in _FAMILIES.items() if command in commands]
    return [import_module(f".{name}", __package__) for name in names or _FAMILIES]


def parser(command: str = "") -> argparse.ArgumentParser:
    """The parser of one command, or of all."""
    made = argparse.ArgumentParser(prog="lab", description="Hosts and emulators to test against.")
    subparsers = made.add_subparsers(required=True, metavar="COMMAND")
    for family in _families(command):
        family.add_parsers(subparsers)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = parser(words[0] if words else "").parse_args(words)
    try:
        status: int = arguments.run(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status
