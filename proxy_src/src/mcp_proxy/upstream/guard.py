"""The options of a route that refuse requests: which one refuses, and what the client is told."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from ..config.model import Rate, RouteOptions
from ..http.messages import Headers, RequestHead
from ..http.paths import Prefixes, has_one_meaning, names_second, overrides

_DENIED: Final = "http_request_denied"
_UNAVAILABLE: Final = "destination_unavailable"
_FULL: Final = "connection_limit_reached"
_AMBIGUOUS: Final = "http_request_error"


class Refused(NamedTuple):
    """An answer in the upstream's place: the ``option`` that refuses, and what the client gets.

    ``error`` is a type of RFC 9209 §2.3.
    """

    option: str
    status: int
    text: str
    error: str
    fields: Headers = []  # noqa: RUF012  (nobody changes it)


class Bucket:
    """A token bucket: each request takes a token, and the rate brings them back."""

    def __init__(self, rate: Rate) -> None:
        """Hold what may come at once, one request at least, at the beginning."""
        self.rate = rate
        self._size = max(1.0, rate.requests)
        self._tokens = self._size
        self._seen = -math.inf

    def take(self, now: float) -> float:
        """Take a token at the time *now*, in seconds; return 0, or how long to wait for one."""
        speed = self.rate.requests / self.rate.seconds
        self._tokens = min(self._size, self._tokens + (now - self._seen) * speed)
        self._seen = now
        if self._tokens < 1:
            return (1 - self._tokens) / speed
        self._tokens -= 1
        return 0.0


class Guard:
    """Judges the requests for one route by the options that it has."""

    def __init__(self, options: RouteOptions, bucket: Bucket | None) -> None:
        """Refuse by *options*; *bucket* has the tokens of their rate, if there is one."""
        self._options = options
        self._prefixes = Prefixes(options.paths) if options.paths else None
        self._methods = frozenset(name.encode("ascii") for name in options.methods)
        self._bucket = bucket
        most = options.max_body_bytes
        self.max_body_bytes = math.inf if most is None else most

    def refusal(self, head: RequestHead, in_flight: int, now: float) -> Refused | None:
        """Return why the request *head* goes no further, or ``None``.

        *in_flight* counts the requests for the route, with this one; *now* is in seconds.
        """
        options = self._options
        if options.maintenance:
            return self._away()
        return (
            self._of_head(head)
            or self._of_length(head)
            or self._of_load(in_flight)
            or self._of_rate(now)
        )

    def too_large(self) -> Refused:
        """The answer to a request with more content than there may be."""
        return Refused("max_body_bytes", 413, "Request content too large", _DENIED)

    def _away(self) -> Refused:
        fields = _retry_after(self._options.retry_after)
        return Refused("maintenance", 503, "Route is in maintenance", _UNAVAILABLE, fields)

    def _of_head(self, head: RequestHead) -> Refused | None:
        option = "paths" if self._prefixes is not None else "methods"
        if self._prefixes is not None:
            if not has_one_meaning(head.target):
                return Refused(option, 400, "Path has more than one meaning", _AMBIGUOUS)
            if head.target not in self._prefixes:
                return Refused(option, 404, "Path is not allowed on this route", _DENIED)
        if self._methods and head.method not in self._methods:
            allowed = ", ".join(self._options.methods).encode("ascii")
            text = "Method is not allowed on this route"
            return Refused("methods", 405, text, _DENIED, [(b"Allow", allowed)])
        if self._asks_for_another(head.headers):
            return Refused(option, 400, "Field asks for another path or method", _AMBIGUOUS)
        return None

    def _asks_for_another(self, headers: Headers) -> bool:
        if self._prefixes is not None and names_second(headers):
            return True
        return (self._prefixes is not None or bool(self._methods)) and overrides(headers)

    def _of_length(self, head: RequestHead) -> Refused | None:
        if head.length is not None and head.length > self.max_body_bytes:
            return self.too_large()
        return None

    def _of_load(self, in_flight: int) -> Refused | None:
        most = self._options.max_in_flight
        if most is None or in_flight <= most:
            return None
        text = "Route has as many requests as it may"
        return Refused("max_in_flight", 503, text, _FULL, _retry_after(1))

    def _of_rate(self, now: float) -> Refused | None:
        wait = self._bucket.take(now) if self._bucket is not None else 0.0
        if not wait:
            return None
        return Refused("rate", 429, "Too many requests for this route", _DENIED, _retry_after(wait))


def _retry_after(seconds: float) -> Headers:
    # Whole seconds, and not less than was asked for (RFC 9110 §10.2.3).
    return [(b"Retry-After", b"%d" % math.ceil(seconds))]
