"""The MCP servers as a part of a lab: one over http, one over https with a CA of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable

from ..core.credentials import issue, write_secret
from ..core.services import Plan, Service, Site, python_service
from ..network.addresses import UPSTREAM_V4
from ..tunnels_api.directory import ApiDirectory
from ..tunnels_api.part import PART as API

_HTTP_PORT = 8000
_HTTPS_PORT = 8443
#: The https server is routed to by name, as in a company's network.
_HTTPS_NAME = "tools.corp.internal"
_ROUTES = {
    "echo": f"http://{UPSTREAM_V4}:{_HTTP_PORT}",
    "secure": f"https://{_HTTPS_NAME}:{_HTTPS_PORT}",
}


def plan(site: Site) -> Plan:
    """Two servers; they accept the tunnel's host names and their own."""
    manual = ApiDirectory(site.directory(API)).store.read()["tunnels"][0]
    domain = manual["domain"]
    directory = site.directory("mcp")
    issued = issue("Laboratory upstream CA", (_HTTPS_NAME,))
    certificate, key, ca = (directory / name for name in ("tls.crt", "tls.key", "ca.crt"))
    certificate.write_text(issued.certificate)
    write_secret(key, issued.key)
    ca.write_text(issued.ca)
    tls = ("--certificate", str(certificate), "--key", str(key))
    return Plan(
        services=[
            _service("mcp-http", _HTTP_PORT, (f"echo.{domain}", f"{UPSTREAM_V4}:{_HTTP_PORT}")),
            _service(
                "mcp-https", _HTTPS_PORT, (f"secure.{domain}", f"{_HTTPS_NAME}:{_HTTPS_PORT}"), tls
            ),
        ],
        names={_HTTPS_NAME: [UPSTREAM_V4]},
        facts={"upstreams": _ROUTES, "upstream_ca_file": str(ca)},
        variables={"mcp_tunnel_routes": _ROUTES, "proxy_upstream_ca": issued.ca},
    )


def _service(name: str, port: int, hosts: tuple[str, ...], tls: tuple[str, ...] = ()) -> Service:
    return Service(
        name=name,
        argv=python_service(
            "lab.mcp",
            *("--name", name, "--bind", f"{UPSTREAM_V4}:{port}"),
            *(word for host in hosts for word in ("--host", host)),
            *tls,
        ),
        ready=_listens(port),
    )


def _listens(port: int) -> Callable[[], bool]:
    def ready() -> bool:
        with socket.create_connection((UPSTREAM_V4, port), timeout=1):
            return True

    return ready
