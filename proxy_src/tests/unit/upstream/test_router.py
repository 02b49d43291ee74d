from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.config.model import Rate, RouteOptions, RouteTimeouts, Upstream
from mcp_proxy.http.messages import RequestHead
from mcp_proxy.upstream.guard import Guard
from mcp_proxy.upstream.router import Router

DOMAIN = "abcd1234.tunnel.anthropic.com"
ECHO = Upstream("http", "10.0.0.5", 8000)
OTHER = Upstream("http", "10.0.0.6", 8000)


def test_options_are_those_of_the_route() -> None:
    away = RouteOptions(maintenance=True)
    router = Router({"echo": ECHO, "other": OTHER}, DOMAIN, {"echo": away})
    found = [router.lookup(name) for name in (f"ECHO.{DOMAIN}", "echo", f"other.{DOMAIN}")]
    assert [route and route.options for route in found] == [away, away, RouteOptions()]


def test_what_holds_for_a_route() -> None:
    own = RouteTimeouts(idle=1, connect=2, upstream_idle=3, upstream_gone=4)
    options = {"echo": RouteOptions(rewrite_host=False, timeouts=own)}
    router = Router({"echo": ECHO, "other": ECHO}, DOMAIN, options, rewrite_host=True)
    echo, other = router.routes
    assert (echo.rewrite_host, other.rewrite_host) == (False, True)
    assert (echo.upstream.timeouts, other.upstream.timeouts) == (own, None)
    assert str(echo.upstream) == str(other.upstream)
    assert echo.upstream != other.upstream  # they share no connection


def test_a_rate_goes_on_if_it_is_as_before() -> None:
    head = RequestHead(b"GET", b"/", b"echo", [], 0, "1.1")

    def guard(router: Router) -> Guard:
        (route,) = router.routes
        assert route.guard is not None
        return route.guard

    options = {"echo": RouteOptions(rate=Rate(1, 60.0))}
    first = Router({"echo": ECHO}, DOMAIN, options)
    assert guard(first).refusal(head, 1, 5.0) is None
    more = {"echo": RouteOptions(rate=Rate(1, 60.0), paths=("/",))}
    second = Router({"echo": ECHO}, DOMAIN, more, before=first)
    assert guard(second).refusal(head, 1, 6.0) is not None
    other = {"echo": RouteOptions(rate=Rate(2, 60.0))}
    third = Router({"echo": ECHO}, DOMAIN, other, before=second)
    assert guard(third).refusal(head, 1, 7.0) is None


def test_a_route_without_options_has_no_guard() -> None:
    options = {"other": RouteOptions(rewrite_host=True)}
    router = Router({"echo": ECHO, "other": OTHER}, DOMAIN, options)
    assert [route.guard for route in router.routes] == [None, None]


def find(router: Router, host: str) -> Upstream | None:
    route = router.lookup(host)
    return route.upstream if route else None


@pytest.mark.parametrize(
    "host",
    [
        f"echo.{DOMAIN}",
        f"echo.{DOMAIN}.",
        f"echo.{DOMAIN}:443",
        f"echo.{DOMAIN}:",
        f"echo.{DOMAIN}.:443",
        f"ECHO.{DOMAIN.upper()}",
        "echo",
    ],
)
def test_a_bare_key_answers_below_the_domain(host: str) -> None:
    assert find(Router({"echo": ECHO}, DOMAIN), host) == ECHO


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":",
        ":443",
        ".",
        DOMAIN,
        f".{DOMAIN}",
        f"echo.{DOMAIN}..",
        f"a.echo.{DOMAIN}",
        f"echo{DOMAIN}",
        f"echo.{DOMAIN}:https",
        f"echo.{DOMAIN}:²",
        f"echo.{DOMAIN}:1:2",
        f"echo.x{DOMAIN}",
        f"user@echo.{DOMAIN}",
        "[::1]",
        "[::1]:443",
        f" echo.{DOMAIN}",
    ],
)
def test_nothing_else_does(host: str) -> None:
    assert find(Router({"echo": ECHO}, DOMAIN), host) is None


def test_the_exact_hostname_comes_first() -> None:
    router = Router({"echo": ECHO, f"echo.{DOMAIN}": OTHER}, DOMAIN)
    assert find(router, f"echo.{DOMAIN}") == OTHER
    assert find(router, "echo") == ECHO
    assert [route.name for route in router.routes] == ["echo", f"echo.{DOMAIN}"]


def test_without_a_domain_keys_are_full_hostnames() -> None:
    router = Router({"echo.example.com": ECHO}, "")
    assert find(router, "echo.example.com:8443") == ECHO
    assert find(router, "echo") is None


names = st.from_regex(r"[a-z]{1,3}(\.[a-z]{1,3}){0,2}", fullmatch=True)


@given(st.sets(names, min_size=1), names, names)
def test_the_table_is_the_rule(keys: set[str], domain: str, host: str) -> None:
    """Compare with the rule as it is written: exact first, then without the domain."""
    routes = {key: Upstream("http", key, 1) for key in keys}
    expected = routes.get(host)
    if expected is None and host.endswith(f".{domain}"):
        expected = routes.get(host[: -len(domain) - 1])
    assert find(Router(routes, domain), host) == expected
