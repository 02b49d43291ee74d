"""An upstream's own address in the fields of its responses that say where to go.

With ``upstream.rewrite_host``, the proxy addresses an upstream by its own address. So its redirects
name this address, which no client can reach.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from ..config.model import Upstream
from .forwarding import host_value
from .messages import Headers

_PLACES: Final = frozenset((b"location", b"content-location", b"refresh"))
"""RFC 9110 §10.2.2 and §8.7; the third is HTML's."""


def public(headers: Headers, upstream: Upstream, authority: bytes) -> Headers:
    """*headers* with URLs of *upstream* replaced by those of *authority*, the client's ``Host``."""
    if not any(name.lower() in _PLACES for name, _value in headers):
        return headers
    pattern = _own(upstream)
    replacement = b"https://" + authority
    return [
        (name, pattern.sub(lambda found: found[1] + replacement, value))
        if name.lower() in _PLACES
        else (name, value)
        for name, value in headers
    ]


@functools.lru_cache(maxsize=1024)
def _own(upstream: Upstream) -> re.Pattern[bytes]:
    """Scheme and authority of a URL of *upstream*, after what may precede it in ``Refresh``.

    The scheme may be that of ``X-Forwarded-Proto``, which the upstream may believe, or missing.
    """
    spellings = {f"{upstream.host}:{upstream.port}".encode("ascii"), host_value(upstream)}
    hosts = b"|".join(map(re.escape, sorted(spellings)))
    return re.compile(
        rb"\A([0-9.\s]+[;,]\s*(?:url\s*=\s*)?[\"']?|)(?:https?:)?//(?:%b)(?=[/?#\"']|\Z)" % hosts,
        re.IGNORECASE,
    )
