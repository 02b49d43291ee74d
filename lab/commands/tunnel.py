"""The commands about the tunnel: control of the edge, and calls through the tunnel."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import LabError
from ..core.paths import LabPaths
from ..edge.control import ask
from ..hosts import ssh
from ..supervision import facts

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_HELP = {
    "status": "connections that connectors hold, and clients carried",
    "drop": "cut all connections, as a failing network would",
    "refuse": "refuse registrations from now on",
    "accept": "accept them again",
    "rotate": "give the tunnel a new secret (the token file follows; live connections survive)",
    "unpin": "carry clients by any connector again",
    "mute": "answer nothing over UDP, as a path does that loses it (the connector's QUIC fails)",
    "unmute": "answer over UDP again",
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
    push = verbs.add_parser("push", help="push a configuration to all connectors")
    push.add_argument("config", metavar="JSON", help='{"ingress": [{"service": "http://…"}]}')
    push.set_defaults(run=_edge)
    call = subparsers.add_parser("call", help="call a tool through the tunnel, as an MCP client")
    call.add_argument("name")
    call.add_argument("route", help="the first label of the host name")
    call.add_argument("tool")
    call.add_argument("arguments", nargs="?", default="{}", metavar="JSON")
    call.add_argument("--ca", type=Path, help="CA of the tunnel (default: the state host's)")
    call.add_argument("--domain", help="of the tunnel (default: the state host's)")
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
    if arguments.verb == "push":
        parameters.append(arguments.config)
    print(json.dumps(ask(Path(lab["edge_control"]), arguments.verb, *parameters), indent=2))
    return 0


def _call(arguments: argparse.Namespace) -> int:
    from ..mcp.call import call  # takes a second to import

    paths = LabPaths(arguments.name)
    lab = facts.read(paths)
    try:
        values = json.loads(arguments.arguments)
    except ValueError as error:
        raise LabError(f"the tool's arguments are not JSON: {error}") from None
    domain = arguments.domain or _stored(paths, lab, "tunnel-domain", "--domain").strip()
    print(
        call(
            lab["edge_front"],
            arguments.ca.read_text() if arguments.ca else _stored(paths, lab, "ca.crt", "--ca"),
            f"{arguments.route}.{domain}",
            arguments.tool,
            values,
            transport=arguments.transport,
            http2=arguments.http2,
            mode=arguments.mode,
        )
    )
    return 0


def _stored(paths: LabPaths, lab: dict[str, Any], file: str, option: str) -> str:
    """The text of a file in the state directory of the state host, which is the first one."""
    host = lab["hosts"][0]["name"]
    path = f"/var/lib/mcp-tunnel/default/{file}"
    text = ssh.output(paths, host, ["sudo", "cat", path], timeout=60)
    if not text:
        raise LabError(f"{host} has no {path}: deploy first, or give {option}")
    return text
