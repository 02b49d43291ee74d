"""Whether a request's path lies within a list of prefixes, whatever its upstream makes of it.

Servers disagree about what a path means: some decode it twice, merge slashes, cut parameters off,
or take a backslash for a slash. So nothing is decoded or mended here, because somebody would do it
in another way. A path is compared as it was sent, goes on as it was sent, and has to be one that
nobody can read in two ways; see docs/proxy.md, "Paths".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from .messages import Headers

# RFC 3986 §3.3 without the semicolon, which begins parameters that some servers cut off.
_PLAIN: Final = rb"[A-Za-z0-9._~!$&'()*+,=:@-]"
# Octets that mean themselves, encoded or not: printable ASCII that separates nothing, ends nothing
# and hides nothing. Beyond ASCII are overlong forms of it (RFC 3629 §10), and characters of which
# some systems make a slash or a dot.
_HARMLESS: Final = b"|".join(
    b"%02x" % octet for octet in range(0x20, 0x7F) if octet not in b"#%./;?\\"
)
# Dot segments as some systems see them, which ignore more dots and blanks, or what comes after.
_DOTS: Final = rb"\.\.|(?:\.|%20)+(?:/|\Z)"
_ONE_MEANING: Final = re.compile(rb"(?:/(?!%b)(?:%b|%%(?i:%b))+)*/?\Z" % (_DOTS, _PLAIN, _HARMLESS))
# Fields by which servers and frameworks replace the path or the method of a request. Some take
# two of CGI's variables (RFC 3875 §4.1) from them.
_OVERRIDING: Final = frozenset(
    (
        b"path-info",
        b"script-name",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-uri",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-script-name",
    )
)


class Prefixes:
    """A list of prefixes of paths. Each stands for itself and all that lies below it."""

    def __init__(self, paths: Iterable[str]) -> None:
        """Take *paths* that begin with a slash and do not end with one, except the root."""
        self._exact = frozenset(path.encode("ascii") for path in paths)
        self._below = tuple(path.rstrip(b"/") + b"/" for path in self._exact)

    def __contains__(self, target: bytes) -> bool:
        """Whether the path of the request target *target*, as it is spelled, is in the list."""
        path = target.partition(b"?")[0]
        return path in self._exact or path.startswith(self._below)


def has_one_meaning(target: bytes) -> bool:
    """Whether everybody sees the same path in *target*, which may have a query.

    That of a request that is for no path (``OPTIONS *``) has one meaning, too.
    """
    return target == b"*" or _ONE_MEANING.match(target.partition(b"?")[0]) is not None


def overrides(headers: Headers) -> bool:
    """Whether a field in *headers* asks for another path or method than the request has.

    Applications behind a gateway in the manner of CGI cannot tell dashes from underscores.
    """
    return any(name.lower().replace(b"_", b"-") in _OVERRIDING for name, _value in headers)


def names_second(headers: Headers) -> bool:
    """Whether a field in *headers* names a path beside the request's.

    Servers of WebDAV write to that of ``Destination``, which may be a URL (RFC 4918 §10.3).
    """
    return any(name.lower() == b"destination" for name, _value in headers)
