"""From the hostname of a request to the upstream that answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from ..config.model import RouteOptions, Upstream
from .guard import Bucket, Guard

_USUAL: Final = RouteOptions()


@dataclass(frozen=True)
class Route:
    """One configured route: its key in the configuration, where it leads, and how it differs.

    ``rewrite_host`` is what holds for it, whether it differs in that or not. ``guard`` judges the
    requests for it; ``None`` lets all of them through.
    """

    name: str
    upstream: Upstream
    options: RouteOptions = _USUAL
    rewrite_host: bool = False
    guard: Guard | None = None


class Router:
    """Finds routes by hostname; path and query never count (vendor behaviour)."""

    def __init__(
        self,
        routes: Mapping[str, Upstream],
        tunnel_domain: str,
        options: Mapping[str, RouteOptions] = MappingProxyType({}),
        rewrite_host: bool = False,
        before: Router | None = None,
    ) -> None:
        """Take *routes* with lower-case keys and the lower-case *tunnel_domain* (or ``""``).

        *options* has the keys of those that have some; *rewrite_host* is for all others. A rate
        that is as it was *before* goes on, with the requests that it has counted.
        """
        self._buckets: dict[str, Bucket] = _buckets(options, before._buckets if before else {})
        self._table = {
            name: self._route(name, upstream, options.get(name, _USUAL), rewrite_host)
            for name, upstream in routes.items()
        }
        self.routes = tuple(self._table.values())
        self.upstreams = {route.upstream for route in self.routes}
        if tunnel_domain:
            # "The exact hostname first, then the hostname without the domain" is, turned around,
            # one table in which a full hostname is never displaced by a bare name.
            for route in self.routes:
                self._table.setdefault(f"{route.name}.{tunnel_domain}", route)

    def lookup(self, host: str) -> Route | None:
        """Return the route for the ``Host`` or ``:authority`` value *host*, or ``None``.

        Case, one trailing dot and a port do not matter (RFC 9110 §4.2.3, RFC 3986 §3.2.2).
        """
        route = self._table.get(host)
        if route is not None:
            return route
        name, colon, port = host.rpartition(":")
        if colon:
            if port and not (port.isascii() and port.isdecimal()):
                return None
            host = name
        if host.endswith("."):
            host = host[:-1]
        return self._table.get(host.lower())

    def _route(
        self, name: str, upstream: Upstream, options: RouteOptions, rewrite_host: bool
    ) -> Route:
        upstream = replace(
            upstream, timeouts=options.timeouts, spread=options.spread, tls=options.tls
        )
        if options.rewrite_host is not None:
            rewrite_host = options.rewrite_host
        guard = Guard(options, self._buckets.get(name)) if options.refusing else None
        return Route(name, upstream, options, rewrite_host, guard)


def _buckets(
    options: Mapping[str, RouteOptions], before: Mapping[str, Bucket]
) -> dict[str, Bucket]:
    buckets = {}
    for name, own in options.items():
        if own.rate is not None:
            old = before.get(name)
            buckets[name] = old if old is not None and old.rate == own.rate else Bucket(own.rate)
    return buckets
