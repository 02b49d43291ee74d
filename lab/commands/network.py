"""The command about a lab's network: run a program of this machine at any place of it."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from ..core.errors import LabError
from ..core.paths import LabPaths
from ..hosts import cgroups
from ..network.namespaces import INTERNET_NAMESPACE, NAMESPACES, NEIGHBOUR_NAMESPACE
from ..supervision import facts

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_BRIDGE = "bridge"


def add_parsers(subparsers: Subparsers) -> None:
    """Adds net."""
    net = subparsers.add_parser("net", help="the network of a lab")
    net.add_argument("name")
    verbs = net.add_subparsers(required=True, metavar="VERB")
    execute = verbs.add_parser("exec", help="run a command of this machine somewhere in it")
    execute.add_argument("where", help="bridge, neighbour, internet, or a host")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    execute.set_defaults(run=_exec)


def _exec(arguments: argparse.Namespace) -> int:
    paths = LabPaths(arguments.name)
    lab = facts.read(paths)
    # A machine's network is inside it.
    containers = [host["name"] for host in lab["hosts"] if not host["machine"]]
    namespaces = [NEIGHBOUR_NAMESPACE, INTERNET_NAMESPACE, *containers]
    if arguments.where not in (_BRIDGE, *namespaces):
        raise LabError(
            f"lab {paths.name} has no place {arguments.where!r} in its network: "
            f"it has {', '.join((_BRIDGE, *namespaces))}"
        )
    if not arguments.command:
        raise LabError("lab net exec: which command?")
    # The names of the namespaces are known in the supervisor's mount namespace only.
    enter = ["nsenter", f"--target={lab['supervisor']}", "--mount"]
    if arguments.where == _BRIDGE:
        enter += ["--net"]
    else:
        enter += ["nsenter", f"--net={NAMESPACES / arguments.where}"]
    # `lab down` kills what is still running.
    try:
        cgroups.join(cgroups.create(paths.label, "commands"))
    except OSError as error:
        raise LabError(facts.gone(paths) or f"lab {paths.name} is ending: {error}") from error
    os.execvp(enter[0], [*enter, *arguments.command])
