"""The commands about the tunnel: what the edge does, and calls through it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from . import facts, ssh
from .edge.control import ask
from .errors import LabError
from .paths import LabPaths

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_HELP = {
    "status": "connections that connectors hold, and clients carried",
    "drop": "cut all connections, as a failing network would",
    "refuse": "refuse registrations from now on",
    "accept": "accept them again",
    "rotate": "give the tunnel a new secret (the token file follows; live connections survive)",
    "unpin": "carry clients by any connector again",
}


def add_parsers(subparsers: Subparsers) -> None:
    """Adds edge and call."""
    edge = subparsers.add_parser("edge", help="the tunnel edge of a lab")
    edge.add_argument("name")
    verbs = edge.add_subparsers(required=True, metavar="VERB", dest="verb")
    for verb, text in _HELP.items():
        verbs.add_parser(verb, help=text).set_defaults(run=_edge)
    pin = verbs.add_parser("pin", help="carry clients by one host's connectors only")
    pin.add_argument("host", help="name of a host, or id of a connector")
    pin.set_defaults(run=_edge)
    call = subparsers.add_parser("call", help="call a tool through the tunnel, as an MCP client")
    call.add_argument("name")
    call.add_argument("route", help="the first label of the host name")
    call.add_argument("tool")
    call.add_argument("arguments", nargs="?", default="{}", metavar="JSON")
    call.add_argument("--ca", type=Path, help="CA of the tunnel (default: the state host's)")
    call.add_argument("--transport", choices=("http", "sse"), default="http")
    call.add_argument("--http2", action="store_true", help="offer HTTP/2")
    call.add_argument("--mode", default="auto", help="auto, legacy, or a protocol revision")
    call.set_defaults(run=_call)


def _edge(arguments: argparse.Namespace) -> int:
    lab = facts.read(LabPaths(arguments.name))
    parameters = []
    if arguments.verb == "pin":
        addresses = {host["name"]: host["address"] for host in lab["hosts"]}
        parameters.append(addresses.get(arguments.host, arguments.host))
    print(json.dumps(ask(Path(lab["edge_control"]), arguments.verb, *parameters), indent=2))
    return 0


def _call(arguments: argparse.Namespace) -> int:
    from .call import call  # takes a second to import

    paths = LabPaths(arguments.name)
    lab = facts.read(paths)
    try:
        values = json.loads(arguments.arguments)
    except ValueError as error:
        raise LabError(f"the tool's arguments are not JSON: {error}") from None
    print(
        call(
            lab["edge_front"],
            arguments.ca.read_text() if arguments.ca else _state_ca(paths, lab["hosts"]),
            f"{arguments.route}.{lab['domain']}",
            arguments.tool,
            values,
            transport=arguments.transport,
            http2=arguments.http2,
            mode=arguments.mode,
        )
    )
    return 0


def _state_ca(paths: LabPaths, hosts: list[dict[str, str]]) -> str:
    """The CA that an operator would register with the vendor, read off the first host."""
    path = "/var/lib/mcp-tunnel/default/ca.crt"
    pem = ssh.output(paths, hosts[0]["name"], ["sudo", "cat", path], timeout=10)
    if not pem:
        raise LabError(f"{hosts[0]['name']} has no {path}: deploy first, or name it with --ca")
    return pem
