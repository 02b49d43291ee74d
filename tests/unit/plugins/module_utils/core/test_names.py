from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import (
    check_domain,
    covers,
    wanted_names,
)

DOMAIN = "abcd1234.tunnel.example"


def test_a_certificate_has_wildcard_and_bare_domain():
    assert wanted_names("ABCD1234.tunnel.example") == [f"*.{DOMAIN}", DOMAIN]


def test_routes_that_the_wildcard_covers_add_nothing():
    assert wanted_names(DOMAIN, ["echo", f"tickets.{DOMAIN}", "Echo"]) == [f"*.{DOMAIN}", DOMAIN]


def test_the_domain_itself_and_underscores_are_routes():
    names = wanted_names(DOMAIN, [DOMAIN, DOMAIN.upper(), "a_b", f"a_b.eu.{DOMAIN}"])
    assert names == [f"*.{DOMAIN}", DOMAIN, f"a_b.eu.{DOMAIN}"]


def test_deeper_routes_are_added():
    names = wanted_names(DOMAIN, ["echo", f"b.eu.{DOMAIN}", f"a.eu.{DOMAIN}"])
    assert names == [f"*.{DOMAIN}", DOMAIN, f"a.eu.{DOMAIN}", f"b.eu.{DOMAIN}"]


@pytest.mark.parametrize(
    "domain",
    [
        "",
        "localhost",
        "https://abcd.tunnel.example",
        "abcd.tunnel.example/x",
        "abcd.tunnel.example:443",
        "*.tunnel.example",
        "-a.example",
        "a..example",
        "a_b.example",
        "x" * 64 + ".example",
        ".".join(["x" * 60] * 5),
    ],
)
def test_no_domain(domain):
    with pytest.raises(TunnelError, match="mcp_tunnel_domain: is not a domain name"):
        check_domain(domain, "mcp_tunnel_domain")


@pytest.mark.parametrize("route", ["a.b", "echo.example.com", f"x{DOMAIN}", "x.y"])
def test_routes_outside_the_domain(route):
    with pytest.raises(TunnelError, match="lies outside the tunnel's domain"):
        wanted_names(DOMAIN, [route])


@pytest.mark.parametrize("route", ["", "*", "a b", "-x", "ä"])
def test_routes_that_are_no_names(route):
    with pytest.raises(TunnelError, match="is not a host name"):
        wanted_names(DOMAIN, [route])


def test_a_wildcard_stands_for_one_label():
    assert covers(["*.example.org"], "a.example.org")
    assert not covers(["*.example.org"], "example.org")
    assert not covers(["*.example.org"], "a.b.example.org")
    assert covers(["A.example.org"], "a.example.org")
