"""The edge as a part of a lab."""

from __future__ import annotations

import socket

from ..core.services import Plan, Service, Site, python_service
from ..network.addresses import EDGE_ADDRESSES, EDGE_PORT
from ..tunnels_api.directory import ApiDirectory
from ..tunnels_api.part import PART as API
from .directory import EdgeDirectory

PART = "edge"


def plan(site: Site) -> Plan:
    """Serves the API's tunnels at the vendor's addresses; its first is that of manual mode."""
    api = ApiDirectory(site.directory(API))
    directory = EdgeDirectory(site.directory(PART), api.store)
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
        argv=python_service(
            *("lab.edge", "--directory", str(directory.path), "--api", str(api.path)), *listen
        ),
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
        modes={
            "manual": {
                "mcp_tunnel_mode": "manual",
                "mcp_tunnel_id": tunnel.id,
                "mcp_tunnel_domain": tunnel.domain,
                "mcp_tunnel_token_file": str(directory.token),
            }
        },
        trusted_cas=[directory.ca.read_text()],
    )
