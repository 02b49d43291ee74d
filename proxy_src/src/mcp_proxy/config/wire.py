"""Settings on their way to a worker, as JSON.

The worker gets what its supervisor has understood, and not the file: that may have changed since,
and reading YAML needs a library whose memory each worker would pay for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import Any

from .model import (
    Address,
    Config,
    Limits,
    MetricsSources,
    Rate,
    RouteOptions,
    RouteTimeouts,
    RouteTls,
    Timeouts,
    Tls,
    Upstream,
    UpstreamPolicy,
)

_PARTS: dict[str, type[Any]] = {
    "listen": Address,
    "admin": Address,
    "tls": Tls,
    "timeouts": Timeouts,
    "limits": Limits,
    "metrics": MetricsSources,
}


def to_wire(config: Config) -> dict[str, Any]:
    """*config* in terms of JSON, without the lines of the file."""
    document: dict[str, Any] = _plain(config)
    del document["lines"]
    return document


def from_wire(document: Mapping[str, Any]) -> Config:
    """Return the configuration that :func:`to_wire` was given."""
    values = dict(document)
    for name, kind in _PARTS.items():
        if values[name] is not None:
            values[name] = kind(**values[name])
    policy = values["upstream"]
    networks = tuple(IPv4Network(text) for text in policy["allowed_ips"])
    values["upstream"] = UpstreamPolicy(**{**policy, "allowed_ips": networks})
    routes = {name: Upstream(**upstream) for name, upstream in values["routes"].items()}
    values["routes"] = MappingProxyType(routes)
    options = {name: _options(given) for name, given in values["route_options"].items()}
    values["route_options"] = MappingProxyType(options)
    values["mcp_tools"] = tuple(values["mcp_tools"])
    return Config(**values)


def _options(given: Mapping[str, Any]) -> RouteOptions:
    values = {**given, "paths": tuple(given["paths"]), "methods": tuple(given["methods"])}
    for name, kind in (("rate", Rate), ("timeouts", RouteTimeouts), ("tls", RouteTls)):
        if values[name] is not None:
            values[name] = kind(**values[name])
    return RouteOptions(**values)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        given = [item.name for item in fields(value) if item.init]
        return {name: _plain(getattr(value, name)) for name in given}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, IPv4Network) else value
