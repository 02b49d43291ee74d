"""Correct variables of a host, for tests that break one of them."""

from __future__ import annotations

from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options

DOMAIN = "abcd1234.tunnel.example"


def good(**changes: Any) -> dict[str, Any]:
    """Return the defaults of all roles and the operator's required variables, with *changes*."""
    return {
        **role_options.defaults(),
        "mcp_tunnel_domain": DOMAIN,
        "mcp_tunnel_routes": {"echo": "http://10.0.0.1:8000"},
        **changes,
    }
