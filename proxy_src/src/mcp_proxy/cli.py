"""The command line of ``mcp-proxy``."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import ssl
import sys
from collections.abc import Sequence
from typing import Callable

from . import __version__
from .config import load as config
from .process import reload_socket, signals
from .process.reloading import as_problem
from .system.build import BUILD
from .tls.certificates import read_ca, read_pair
from .tls.contexts import CertificateError, server_context
from .tls.route_files import invalidities, with_contents
from .watch import log


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in *argv* (default: the process's own) and return the exit status.

    0: done, or stopped as asked. 1: the configuration or the machine does not allow it, stderr says
    why. 2: wrong usage.
    """
    arguments = _parser().parse_args(_with_command(sys.argv[1:] if argv is None else list(argv)))
    command: Callable[[argparse.Namespace], int] = arguments.run
    return command(arguments)


def _with_command(argv: list[str]) -> list[str]:
    """``mcp-proxy --config FILE`` is how the vendor's proxy is started: take it as ``serve``."""
    return ["serve", *argv] if argv and argv[0].split("=")[0] in ("--config", "-config") else argv


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-proxy", description="Ends inner TLS and routes requests to upstream MCP servers."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the proxy (the default with --config)")
    serve.add_argument("--config", "-config", required=True, metavar="FILE")
    serve.set_defaults(run=_serve)
    reload = commands.add_parser(
        "reload",
        help="have the running proxy take its configuration, and say what is wrong with it",
    )
    reload.add_argument(
        "--socket",
        default=reload_socket.path(os.environ),
        metavar="PATH",
        help="where to ask it (default: control.sock in $RUNTIME_DIRECTORY)",
    )
    reload.set_defaults(run=_reload)
    check = commands.add_parser(
        "check-config", help="say what is wrong with a configuration and its certificates"
    )
    check.add_argument("config", metavar="FILE")
    check.set_defaults(run=_check)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    with signals.held():
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    from .process.supervisor import StartError, run

    log.configure("info")
    try:
        settings = config.load(arguments.config)
    except config.ConfigError as error:
        for problem in error.problems:
            where = f"{arguments.config}:{problem.line}"
            log.event(log.logger, log.ERROR, f"configuration error: {problem}", where=where)
        return 1
    log.configure(settings.log_level)
    try:
        asyncio.run(run(arguments.config, settings))
    except CertificateError as error:
        reasons: Sequence[object] = (error,)
    except StartError as error:
        reasons = error.args
    else:
        return 0
    for reason in reasons:
        log.event(log.logger, log.ERROR, f"cannot start: {reason}")
    return 1


def _reload(arguments: argparse.Namespace) -> int:
    if not arguments.socket:
        print("mcp-proxy reload: give --socket, or set RUNTIME_DIRECTORY", file=sys.stderr)
        return 2
    try:
        outcome = reload_socket.ask(arguments.socket)
    except reload_socket.NoProxy as error:
        print(error, file=sys.stderr)
        return 1
    for problem in outcome.problems:
        print(problem, file=sys.stderr)
    for name in outcome.needs_restart:
        print(f"{name}: the new value needs a restart")
    return 1 if outcome.problems else 0


def _check(arguments: argparse.Namespace) -> int:
    try:
        settings = config.load(arguments.config)
        problems = _file_problems(settings)
        if problems:
            raise config.ConfigError(arguments.config, problems)
    except config.ConfigError as error:
        print("\n".join(error.lines()))
        return 1
    count = len(settings.routes)
    print(f"{arguments.config}: ok, {count} route{'' if count == 1 else 's'}")
    return 0


def _file_problems(settings: config.Config) -> list[config.Problem]:
    problems = []
    for check in (_check_pair, _check_upstream):
        try:
            check(settings)
        except CertificateError as error:
            problems.append(as_problem(settings, error))
    settings, errors = with_contents(settings)
    errors += invalidities(settings)
    return [*problems, *(as_problem(settings, error) for error in errors)]


def _check_pair(settings: config.Config) -> None:
    pair = read_pair(settings.tls)
    server_context(pair.chain, pair.key)
    problem = pair.invalidity()
    if problem:
        raise CertificateError("tls.cert_file", problem, "renew the server certificate")


def _check_upstream(settings: config.Config) -> None:
    read_ca(settings.upstream)


def _version(_arguments: argparse.Namespace) -> int:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"mcp-proxy {__version__} ({BUILD}, {python}, {ssl.OPENSSL_VERSION})")
    return 0
