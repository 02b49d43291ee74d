"""The rules for ``route_options``: how some routes differ from the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType

from .model import METHODS, Rate, RouteOptions, RouteTimeouts, Timeouts, Upstream
from .reader import Section, shown
from .rules import lower, route_key, why_no_host

# Segments of RFC 3986 §3.3 that have one meaning to everybody: no percent-encoding, no parameters,
# and no dots in front but that of `.well-known` (RFC 8615).
_PATH = re.compile(r"(?:/(?!\.(?:\.|/|\Z))[A-Za-z0-9._~!$&'()*+,=:@-]+)+\Z")
_RATE = re.compile(r"(0|[1-9][0-9]{0,6})/([smh])\Z")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_RANGES = {"max_body_bytes": (1, 1 << 32), "max_in_flight": (1, 1_000_000)}
_FILES = ("client_cert", "client_key", "ca_file")
_PARTNERS = {"client_cert": "client_key", "client_key": "client_cert"}
_FILLED_IN = "tls"
"""The field that is no option, but what the program has read."""
_OF_NO_ROUTE = ("handshake", "header")
"""Timeouts that run before it is known which route is asked for."""


def read(
    top: Section, routes: Mapping[str, Upstream], timeouts: Timeouts
) -> Mapping[str, RouteOptions]:
    """Return the options of each of *routes* that has some; *timeouts* are those of all others."""
    section = top.section("route_options")
    found: dict[str, RouteOptions] = {}
    for name in section.names():
        key = route_key(name)
        if key in found:
            section.problem(name, "the same route as another entry", "keep one of them")
        # With routes that are wrong, nobody knows which ones there are.
        elif routes and key not in routes:
            section.problem(name, "no such route", f"use one of {', '.join(map(shown, routes))}")
        known = [item.name for item in fields(RouteOptions) if item.name != _FILLED_IN]
        found[key] = _options(section.section(name, known), timeouts, routes.get(key))
    return MappingProxyType(found)


def _options(section: Section, timeouts: Timeouts, upstream: Upstream | None) -> RouteOptions:
    tls = _tls(section, upstream)
    return RouteOptions(
        maintenance=section.flag("maintenance"),
        retry_after=section.seconds("retry_after", RouteOptions.retry_after),
        paths=_paths(section),
        methods=_methods(section),
        max_body_bytes=section.bound("max_body_bytes", *_RANGES["max_body_bytes"]),
        max_in_flight=section.bound("max_in_flight", *_RANGES["max_in_flight"]),
        rate=_rate(section),
        rewrite_host=section.flag("rewrite_host") if section.is_set("rewrite_host") else None,
        timeouts=_timeouts(section, timeouts),
        spread=section.flag("spread"),
        client_cert=tls["client_cert"],
        client_key=tls["client_key"],
        ca_file=tls["ca_file"],
        server_name=tls["server_name"],
    )


def _paths(section: Section) -> tuple[str, ...]:
    found = section.choices("paths", "write `/` to allow every path, or leave the field out")
    for number, path in enumerate(found):
        place = f"paths[{number}]"
        if not path.startswith("/"):
            section.problem(place, f"must begin with /, not {shown(path)}", "write e.g. /mcp")
        elif path != "/" and not _PATH.match(path):
            section.problem(
                place,
                f"not a plain path: {shown(path)}",
                "write e.g. /mcp, which stands for /mcp/ and all below it, too: no / at the end, "
                "no dot segments, and none of % ; ? # \\",
            )
        elif wider := [other for other in found if _is_below(path, other)]:
            section.problem(
                place, f"{shown(path)} lies within {shown(wider[0])}", "keep one of them"
            )
    return tuple(found)


def _is_below(path: str, other: str) -> bool:
    return path != other and path.startswith(other.rstrip("/") + "/")


def _methods(section: Section) -> tuple[str, ...]:
    known = {name.decode("ascii") for name in METHODS} - {"CONNECT"}  # which nobody can use
    found = section.choices("methods", "leave the field out to allow every method")
    for number, method in enumerate(found):
        if method not in known:
            section.problem(
                f"methods[{number}]",
                f"no method that the proxy passes on: {shown(method)}",
                "methods are in capital letters, like GET, POST, DELETE",
            )
    return tuple(found)


def _rate(section: Section) -> Rate | None:
    text = section.text("rate")
    if not text:
        return None
    match = _RATE.match(text)
    if match is None:
        section.problem(
            "rate",
            f"must be a number of requests in a span of time, not {shown(text)}",
            "write e.g. 10/s, 600/m or 1000/h",
        )
        return None
    if match[1] == "0":
        section.problem(
            "rate",
            f"{text} lets no request through",
            "set maintenance: true for that, or leave it out for no limit",
        )
        return None
    return Rate(float(match[1]), _SECONDS[match[2]])


def _timeouts(section: Section, timeouts: Timeouts) -> RouteTimeouts | None:
    names = [item.name for item in fields(RouteTimeouts)]
    own = section.section("timeouts", [*names, *_OF_NO_ROUTE])
    for name in _OF_NO_ROUTE:
        if own.is_set(name):
            own.problem(
                name, "runs before the route is known", f"set timeouts.{name}, for all routes"
            )
    if not any(map(own.is_set, names)):
        return None
    return RouteTimeouts(**{name: own.seconds(name, getattr(timeouts, name)) for name in names})


def _tls(section: Section, upstream: Upstream | None) -> dict[str, str]:
    found = {name: section.text(name) or "" for name in _FILES}
    for name, path in found.items():
        partner = _PARTNERS.get(name, "")
        if path and not path.startswith("/"):
            section.problem(
                name, f"must be an absolute path, not {shown(path)}", "write e.g. /etc/ssl/wiki.pem"
            )
        else:
            section.readable_file(name, path)
        if path and partner and not section.is_set(partner):
            section.problem(
                name,
                f"is of no use without {partner}",
                f"set {partner} as well",
            )
    found["server_name"] = _server_name(section)
    for name in [name for name in found if section.is_set(name)]:
        if upstream is not None and upstream.scheme != "https":
            section.problem(
                name,
                f"is for https, but the upstream is {upstream}",
                "make the upstream https, or leave it out",
            )
    return found


def _server_name(section: Section) -> str:
    name = lower(section.word("server_name") or "")
    if name and (reason := why_no_host(name)):
        section.problem("server_name", f"no name of a server: {shown(name)}", reason)
    return name
