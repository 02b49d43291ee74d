"""The hosts' surroundings, as a part of a lab: a LAN neighbour, the Internet, and their sinks.

The sinks answer where a firewall has to decide and nothing else of the lab answers: also on the
addresses of the edge, the upstreams and the metadata servers, at other ports than theirs.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from ..core.services import Plan, Service, Site, python_service
from .addresses import (
    EDGE_SINK_V4,
    EDGE_SINK_V6,
    INTERNET_V4,
    INTERNET_V6,
    METADATA_V4,
    METADATA_V6,
    NEIGHBOUR,
    UPSTREAM_V4,
    UPSTREAM_V6,
)
from .namespaces import INTERNET_NAMESPACE, NEIGHBOUR_NAMESPACE, build_internet, build_neighbour

_EVERYWHERE = (
    "udp:53",
    "udp:123",
    "udp:443",
    "udp:7844",
    "tcp:22",
    "tcp:53",
    "tcp:80",
    "tcp:443",
    "tcp:7844",
)
#: The other port, and an upstream's port for the other protocol.
_UPSTREAM = ("udp:9000", "udp:8000", "tcp:9000")
#: IPv6 addresses of upstreams are never dialled; ports of the laboratory's two.
_MCP = ("tcp:8000", "tcp:8443")


def plan(_site: Site) -> Plan:
    """Makes both namespaces; three processes serve all sinks."""
    build_neighbour()
    build_internet()
    neighbour = _places((NEIGHBOUR.v4, NEIGHBOUR.v6), (*_EVERYWHERE, *_MCP))
    internet = _places((INTERNET_V4, INTERNET_V6, EDGE_SINK_V4, EDGE_SINK_V6), _EVERYWHERE)
    bridge = [
        *_places((UPSTREAM_V4,), _UPSTREAM),
        *_places((UPSTREAM_V6,), (*_UPSTREAM, *_MCP)),
        # DHCP servers, as far as a firewall is concerned.
        *_places((UPSTREAM_V4,), ("udp:67",)),
        *_places((UPSTREAM_V6,), ("udp:547",)),
        *_places((METADATA_V4,), ("tcp:8443",)),
        *_places((METADATA_V6,), ("tcp:80",)),
    ]
    return Plan(
        services=[
            _service("bridge", bridge, (METADATA_V6, 80)),
            _service(NEIGHBOUR_NAMESPACE, neighbour, (NEIGHBOUR.v6, 8443)),
            _service(INTERNET_NAMESPACE, internet, (EDGE_SINK_V6, 7844)),
        ],
        facts={
            "neighbour": {
                "address": NEIGHBOUR.v4,
                "address6": NEIGHBOUR.v6,
                "link_local": NEIGHBOUR.link_local,
            },
            "internet": {"address": INTERNET_V4, "address6": INTERNET_V6},
        },
    )


def _places(addresses: Sequence[str], ports: Sequence[str]) -> list[str]:
    places = []
    for address in addresses:
        host = f"[{address}]" if ":" in address else address
        for port in ports:
            protocol, _, number = port.partition(":")
            places.append(f"{protocol}:{host}:{number}")
    return places


def _service(where: str, places: Sequence[str], last: tuple[str, int]) -> Service:
    inside = () if where == "bridge" else ("ip", "netns", "exec", where)
    listen = [word for place in places for word in ("--listen", place)]
    return Service(
        name=f"sinks-{where}",
        argv=(*inside, *python_service("lab.network.sinks", *listen)),
        ready=_listens(last),
    )


def _listens(place: tuple[str, int]) -> Callable[[], bool]:
    def ready() -> bool:
        with socket.create_connection(place, timeout=1):
            return True

    return ready
