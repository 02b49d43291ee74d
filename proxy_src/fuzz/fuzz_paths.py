"""Paths of a route's list: what is let through can be read in no way that leads out of the list."""

from __future__ import annotations

from mcp_proxy.http.paths import Prefixes, has_one_meaning
from path_readings import outside

_LISTS = (("/mcp",), ("/.well-known/x", "/a/b"), ("/",))


def one_input(data: bytes) -> None:
    """*data* is what follows the beginning of a target."""
    for paths in _LISTS:
        prefixes, allowed = Prefixes(paths), tuple(path.encode() for path in paths)
        for front in (b"/", allowed[0], allowed[0] + b"/"):
            target = front + data[:100]
            if has_one_meaning(target) and target in prefixes:
                assert outside(target, allowed) == set(), target
