"""``route_options``: each option with its limits, and the message about a wrong value."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_files import load, minimal, problems
from mcp_proxy.config.model import Rate, RouteOptions, RouteTimeouts

EVERY = """\
maintenance: true
retry_after: 90s
paths: [/mcp, "/.well-known/oauth-protected-resource", "/a/b:c@d"]
methods: [GET, POST, M-SEARCH]
max_body_bytes: 1048576
max_in_flight: '20'
rate: 600/m
rewrite_host: no
timeouts: {idle: 1h, connect: 2s}
"""


def options(text: str) -> str:
    """A configuration whose route echo has the options in *text*."""
    below = "".join(f"    {line}\n" for line in text.splitlines())
    return minimal(
        x=f"timeouts: {{connect: 3s, upstream_idle: 7s}}\nroute_options:\n  echo:\n{below}"
    )


def test_every_option(files: Path) -> None:
    assert load(files, options(EVERY)).route_options == {
        "echo": RouteOptions(
            maintenance=True,
            retry_after=90.0,
            paths=("/mcp", "/.well-known/oauth-protected-resource", "/a/b:c@d"),
            methods=("GET", "POST", "M-SEARCH"),
            max_body_bytes=1048576,
            max_in_flight=20,
            rate=Rate(600.0, 60.0),
            rewrite_host=False,
            timeouts=RouteTimeouts(idle=3600.0, connect=2.0, upstream_idle=7.0, upstream_gone=60.0),
        )
    }


@pytest.mark.parametrize(
    "text",
    ["maintenance: false", "timeouts: {}", "timeouts:", "rate:", "rate: ''", "max_in_flight:"],
)
def test_no_difference(files: Path, text: str) -> None:
    assert load(files, options(text)).route_options == {"echo": RouteOptions()}


@pytest.mark.parametrize(
    ("rate", "meant"), [("1/s", Rate(1, 1)), ("9999999/h", Rate(9999999, 3600))]
)
def test_rates(files: Path, rate: str, meant: Rate) -> None:
    assert load(files, options(f"rate: {rate}")).route_options["echo"].rate == meant


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("paths: /mcp", "paths: must be a list of values"),
        ("paths: {/mcp: true}", "paths: must be a list of values"),
        ("paths: [[/mcp]]", "paths: must be a list of values"),
        ("paths: []", "paths: allows nothing: the list is empty; write `/` to allow every path"),
        ("paths:", "paths: allows nothing: the list is empty; write `/` to allow every path"),
        ("paths: [mcp]", "paths[0]: must begin with /, not 'mcp'; write e.g. /mcp"),
        ("paths: ['']", "paths[0]: must begin with /, not ''; write e.g. /mcp"),
        ("paths: [/a, 5]", "paths[1]: must begin with /, not '5'; write e.g. /mcp"),
        ("paths: [/mcp, /mcp]", "paths[1]: '/mcp' is given twice; keep one"),
        ("paths: [/mcp/a, /mcp]", "paths[0]: '/mcp/a' lies within '/mcp'; keep one of them"),
        ("paths: [/, /mcp]", "paths[1]: '/mcp' lies within '/'; keep one of them"),
        ("methods: POST", "methods: must be a list of values"),
        ("methods: []", "methods: allows nothing: the list is empty; leave the field out"),
        ("methods: [post]", "methods[0]: no method that the proxy passes on: 'post'; methods are"),
        ("methods: [POTS]", "methods[0]: no method that the proxy passes on: 'POTS'"),
        ("methods: [CONNECT]", "methods[0]: no method that the proxy passes on: 'CONNECT'"),
        ("methods: [GET, GET]", "methods[1]: 'GET' is given twice; keep one"),
        ("max_body_bytes: 0", "max_body_bytes: must be a whole number from 1 to 4294967296, not"),
        ("max_body_bytes: 1M", "max_body_bytes: must be a whole number from 1 to 4294967296, not"),
        ("max_body_bytes: [1]", "max_body_bytes: must be a whole number, not a list"),
        ("max_in_flight: 0", "max_in_flight: must be a whole number from 1 to 1000000, not '0'"),
        ("max_in_flight: -1", "max_in_flight: must be a whole number from 1 to 1000000, not '-1'"),
        ("max_in_flight: 1.5", "max_in_flight: must be a whole number from 1 to 1000000, not"),
        ("rate: 10", "rate: must be a number of requests in a span of time, not '10'; write e.g."),
        ("rate: 1.5/s", "rate: must be a number of requests in a span of time, not '1.5/s'"),
        ("rate: 10/d", "rate: must be a number of requests in a span of time, not '10/d'"),
        ("rate: 10 / s", "rate: must be a number of requests in a span of time, not '10 / s'"),
        ("rate: 010/s", "rate: must be a number of requests in a span of time, not '010/s'"),
        ("rate: -1/s", "rate: must be a number of requests in a span of time, not '-1/s'"),
        ("rate: 0", "rate: must be a number of requests in a span of time, not '0'; write e.g."),
        ("rate: 0/s", "rate: 0/s lets no request through; set maintenance: true for that"),
        ("rate: [1/s]", "rate: must be text, not a list"),
        ("rewrite_host: maybe", "rewrite_host: must be true or false, not 'maybe'"),
        ("timeouts: 5s", "timeouts: must be a map of fields, not a single value"),
        ("timeouts: {idle: 0s}", "timeouts.idle: must be longer than 0s; the default is 300s"),
        ("timeouts: {connect: 1}", "timeouts.connect: must be a duration, not '1'"),
        ("timeouts: {connect: 0s}", "timeouts.connect: must be longer than 0s; the default is 3s"),
        (
            "timeouts: {header: 5s}",
            "timeouts.header: runs before the route is known; set timeouts.header, for all routes",
        ),
        ("timeouts: {handshake: 5s}", "timeouts.handshake: runs before the route is known; set"),
        ("timeouts: {conect: 5s}", "timeouts.conect: unknown field; did you mean"),
        ("path: [/mcp]", "path: unknown field; did you mean `route_options.echo.paths`?"),
    ],
)
def test_each_has_its_problem(files: Path, text: str, expected: str) -> None:
    (found,) = problems(files, options(text))
    assert found.partition(" ")[2].startswith(f"route_options.echo.{expected}")
    assert not found.endswith("; ")


SEVERAL_MEANINGS = [
    *("/mcp/", "//", "//mcp", "/mcp//x", "/.", "/..", "/mcp/.", "/mcp/..", "/../mcp"),
    *(
        "/...",
        "/..x",
        "/mcp/./x",
        "/mcp/../x",
        "/%6dcp",
        "/%2f",
        "/mcp;x",
        "/mcp?x",
        "/mcp#x",
        "/a b",
        "/a\\b",
    ),
    *("/caf\u00e9", "/mcp|", '/"', "/<x>", "/{id}", "/^", "/`"),
]


@pytest.mark.parametrize("path", SEVERAL_MEANINGS)
def test_a_path_has_one_meaning(files: Path, path: str) -> None:
    (found,) = problems(files, options(f"paths: ['{path}']"))
    assert "route_options.echo.paths[0]: not a plain path: " in found


PLAIN = ["/", "/mcp", "/a/b/c", "/.well-known/x", "/~u/$x", "/a.b/c..d", "/_-"]


@pytest.mark.parametrize("path", PLAIN)
def test_plain_paths(files: Path, path: str) -> None:
    assert load(files, options(f"paths: ['{path}']")).route_options["echo"].paths == (path,)
