# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command mcp-tunnel: the status of this host's instances, and an archive for support.

Both change nothing but the archive that they write, and need neither Ansible nor a network.
Exit status: 0 if all is well, 1 if not, 2 if the command was not understood.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from typing import Any, NoReturn

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import check_instance
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import deployed
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.status import document, tables
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support import archive

_WELL, _NOT_WELL = 0, 1
# As a shell says it of a program that a signal has ended.
_INTERRUPTED, _TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
_PAUSE_SECONDS, _SHORTEST_PAUSE = 5.0, 1.0


def main(arguments: list[str] | None = None) -> int:
    """Does what *arguments* say, and returns the exit status."""
    given = _parser().parse_args(arguments)
    # Unlike the default, this puts the terminal back as it was.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        status = _status(given) if given.command == "status" else _support(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        # Nobody can end --watch in another way.
        return _WELL if getattr(given, "watch", None) else _INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough (head, less); Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOT_WELL
    except TunnelError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(_of_the_system(error))
    return status


def _terminated(*_signal: Any) -> NoReturn:
    raise SystemExit(_TERMINATED)


def _of_the_system(error: OSError) -> str:
    is_refused = isinstance(error, PermissionError) and os.geteuid()
    remedy = "Run it as root" if is_refused else "Look at that path and its file system"
    return f"{error.filename or 'system'}: {error.strerror or error}. {remedy}."


def _fail(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return _NOT_WELL


def _instances(given: argparse.Namespace) -> list[str]:
    """The instances that are asked for: all, unless some are named."""
    named = [deployed.check_deployed(name) for name in dict.fromkeys(given.instance)]
    return named or deployed.instances()


def _status(given: argparse.Namespace) -> int:
    names = _instances(given)
    on = tables.console(sys.stdout)
    if given.watch:
        tables.watch(lambda: document.look(names), on, given.watch)
    found = document.look(names)
    if given.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        tables.show(found, on)
    return _WELL if found["healthy"] else _NOT_WELL


def _support(given: argparse.Namespace) -> int:
    if os.geteuid():
        raise TunnelError("mcp-tunnel support", "is not run by root", "Run it with sudo")
    made = archive.make(_instances(given))
    path = archive.store(made, given.output)
    out = sys.stdout
    out.write(f"{path}: {len(made.content)} bytes, {len(made.manifest['files'])} files\n")
    for item in made.manifest["left_out"]:
        out.write(f"left out: {item['name']}: {item['why']}\n")
    for name, lines in made.blanked.items():
        out.write(f"blanked: {name}: {lines} lines that look like a key or a token\n")
    if made.secrets:
        return _fail(
            f"secrets: {len(made.secrets)} files were left out, because they hold one: "
            f"{', '.join(made.secrets)}. Find out how it got there, and replace that secret."
        )
    return _WELL


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-tunnel",
        description="Shows whether the MCP tunnel replicas on this host work, and collects what "
        "support needs. Changes nothing.",
        epilog="Exit status: 0 all is well, 1 it is not, 2 the command was not understood.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_status(commands)
    _add_support(commands)
    return parser


def _add_status(commands: Any) -> None:
    status = commands.add_parser("status", help="what works, what does not, and the remedy")
    _add_instance(status)
    form = status.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs")
    form.add_argument(
        "--watch",
        nargs="?",
        type=_pause,
        const=_PAUSE_SECONDS,
        metavar="SECONDS",
        help=f"look again every SECONDS ({_PAUSE_SECONDS:g}), until Ctrl-C",
    )


def _add_support(commands: Any) -> None:
    support = commands.add_parser("support", help="one archive of what support needs, no secrets")
    _add_instance(support)
    support.add_argument(
        "--output", default=".", metavar="DIRECTORY", help="where the archive goes (here)"
    )


def _add_instance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--instance",
        action="append",
        default=[],
        type=_instance,
        metavar="NAME",
        help="only this one; repeatable",
    )


def _instance(text: str) -> str:
    try:
        return check_instance(text)
    except TunnelError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _pause(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not _SHORTEST_PAUSE <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"must be from {_SHORTEST_PAUSE:g} to 3600 seconds")
    return seconds
