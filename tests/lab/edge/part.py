"""The edge as a part of a lab."""

from __future__ import annotations

import socket

from ..addresses import EDGE_ADDRESSES, EDGE_PORT
from ..services import Plan, Service, Site, python_service
from .directory import EdgeDirectory

PART = "edge"


def plan(site: Site) -> Plan:
    """Makes up a tunnel; the edge serves it at the vendor's addresses."""
    directory = EdgeDirectory(site.directory(PART))
    tunnel = directory.fill()
    listen = [
        f"--listen=[{address}]:{EDGE_PORT}" if ":" in address else f"--listen={address}:{EDGE_PORT}"
        for address in EDGE_ADDRESSES
    ]

    def ready() -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(directory.control))
        return True

    service = Service(
        name=PART,
        argv=python_service("lab.edge", "--directory", str(directory.path), *listen),
        ready=ready,
        front_doors=(PART,),
    )
    return Plan(
        services=[service],
        facts={
            "domain": tunnel.domain,
            "tunnel_id": tunnel.id,
            "tunnel_token_file": str(directory.token),
            "edge_control": str(directory.control),
            "edge_ca_file": str(directory.ca),
        },
        variables={
            "mcp_tunnel_mode": "manual",
            "mcp_tunnel_id": tunnel.id,
            "mcp_tunnel_domain": tunnel.domain,
            "mcp_tunnel_token_file": str(directory.token),
        },
        trusted_cas=[directory.ca.read_text()],
    )
