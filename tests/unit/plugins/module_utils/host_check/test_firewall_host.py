from __future__ import annotations

import socket

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import (
    firewall as firewall_host,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import nft_support

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
ANYTHING = ("0.0.0.0/0",)
NAMES = {
    "tools.corp": ["10.0.0.7"],
    "half.corp": ["10.0.0.8", "203.0.113.8"],
    "metadata.cloud": ["169.254.169.254"],
}


@pytest.fixture(autouse=True)
def host(monkeypatch):
    """A host with all of nftables, and with name servers that know NAMES."""

    def getaddrinfo(name, port, family, kind):
        assert family == socket.AF_INET
        if name not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(family, kind, 6, "", (address, 0)) for address in NAMES[name] * 2]

    monkeypatch.setattr(nft_support, "lacks", list)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def told(*names, allowed=PRIVATE, resolvers=(), users=(), found=("10.0.0.53",), known=()):
    asked = {
        "resolvers": list(resolvers),
        "users": [{"variable": "firewall_admin_users", "name": name} for name in users],
        "upstreams": [
            {"variable": f"mcp_tunnel_routes['r{index}']", "name": name, "networks": list(allowed)}
            for index, name in enumerate(names)
        ],
    }
    return firewall_host.problems(asked, list(found), list(known))


def test_names_that_may_be_dialled():
    assert told("tools.corp", "tools.corp") == []
    assert told("tools.corp", "half.corp", allowed=ANYTHING) == []


def test_a_name_that_nobody_knows_yet():
    assert told("later.corp", "a..b") == []


def test_a_name_that_may_lead_to_a_public_address():
    (problem,) = told("tools.corp", "half.corp")
    assert problem.startswith("mcp_tunnel_routes['r1']: on the host, half.corp is 203.0.113.8, ")
    assert "which is in none of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16" in problem
    assert "Add its network to proxy_allowed_ips" in problem


@pytest.mark.parametrize("allowed", [PRIVATE, ANYTHING])
def test_a_name_of_the_metadata_address(allowed):
    (problem,) = told("metadata.cloud", allowed=allowed)
    assert "metadata.cloud is 169.254.169.254, which is a cloud's metadata address" in problem
    assert "Route to an MCP server instead" in problem


def test_no_resolver():
    (problem,) = told(found=[])
    assert problem.startswith("firewall_resolvers: /etc/resolv.conf names no name server")
    assert "Set the variable, or name one there" in problem
    assert told(found=[], resolvers=["10.0.0.53"]) == []


def test_users_that_are_no_accounts_of_the_host():
    (problem,) = told(users=["prometheus", "nagios"], known=["nagios"])
    assert problem.startswith(
        "firewall_admin_users: prometheus is no account of the host itself (/etc/passwd). Make the "
    )
    assert "one of a directory service will not do" in problem


def test_what_nftables_lacks(monkeypatch):
    monkeypatch.setattr(nft_support, "lacks", lambda: ["nftables: there is no nft"])
    assert told() == ["nftables: there is no nft"]
