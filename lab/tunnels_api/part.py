"""The Tunnels API as a part of a lab."""

from __future__ import annotations

import socket
from typing import Any

from ..core.credentials import issue, write_secret
from ..core.services import Plan, Service, Site, python_service
from ..identity import azure
from ..identity.issuers import WORLD
from ..identity.part import PART as IDENTITY
from ..identity.part import PLACE as ISSUERS
from ..identity.platforms import SUBJECTS
from ..network.addresses import API_V4
from .control import new_rule
from .directory import ApiDirectory
from .state import Rule, State

PART = "api"
_NAME = "api.anthropic.com"
#: The platform whose metadata server the inventory's operator asks.
_HOSTS_ARE_ON = "gcp"
#: The resource for which tokens of Azure are requested.
AZURE_RESOURCE = "api://lab-tunnels"


def plan(site: Site) -> Plan:
    """An API with one tunnel for manual mode, and a federation rule for each platform."""
    directory = ApiDirectory(site.directory(PART))
    directory.fill(manual_tunnel=True)
    with directory.store.change() as state:
        rules = {platform: _rule(state, platform) for platform in WORLD}
        state["rules"] = list(rules.values())
    issued = issue("Laboratory API CA", (_NAME,))
    certificate, key = (directory.path / name for name in ("tls.crt", "tls.key"))
    certificate.write_text(issued.certificate)
    write_secret(key, issued.key)

    def ready() -> bool:
        with socket.create_connection((API_V4, 443), timeout=1):
            return directory.control.exists()

    service = Service(
        name=PART,
        argv=python_service(
            "lab.tunnels_api",
            *("--directory", str(directory.path), "--bind", f"{API_V4}:443"),
            *("--certificate", str(certificate), "--key", str(key)),
            *("--issuers-at", ISSUERS, "--issuers-ca", str(site.directory(IDENTITY) / "ca.crt")),
        ),
        ready=ready,
    )
    return Plan(
        services=[service],
        names={_NAME: [API_V4]},
        facts={
            "api_control": str(directory.control),
            "federation": {
                "organization_id": state["organization_id"],
                "workspace_id": state["workspaces"][0]["id"],
                "service_account_id": state["service_accounts"][0]["id"],
                "rules": {platform: rule["id"] for platform, rule in rules.items()},
                "audiences": {platform: rule["audience"] for platform, rule in rules.items()},
            },
        },
        modes={
            "wif": {
                "mcp_tunnel_mode": "wif",
                "mcp_tunnel_display_name": "laboratory",
                "mcp_tunnel_federation_rule_id": rules[_HOSTS_ARE_ON]["id"],
                "mcp_tunnel_organization_id": state["organization_id"],
                "mcp_tunnel_service_account_id": state["service_accounts"][0]["id"],
                "mcp_tunnel_workspace_id": state["workspaces"][0]["id"],
                "mcp_tunnel_identity": {"source": _HOSTS_ARE_ON},
                # The MCP servers cannot know the name of a tunnel that is still to be made.
                "proxy_rewrite_host": True,
                "firewall_api_networks": [API_V4],
            }
        },
        trusted_cas=[issued.ca],
    )


def _rule(state: State, platform: str) -> Rule:
    options: dict[str, Any] = {}
    if platform == "azure":
        options = {"audience": AZURE_RESOURCE, "max_lifetime": azure.MAX_LIFETIME}
    return new_rule(state, WORLD[platform], SUBJECTS[platform], **options)
