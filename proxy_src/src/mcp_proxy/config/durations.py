"""Go's duration notation, the one of the vendor's configuration files."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_TERM = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
# Go holds a duration in 63 bits of nanoseconds; more than that is an error there as well.
_MAX_SECONDS = (2**63 - 1) / 1e9


def parse(text: str) -> float:
    """Return the seconds that *text* stands for: ``30s``, ``1m30s``, ``1.5h``, ``250ms``, ``0``.

    The rule is that of Go's ``time.ParseDuration`` without negative values, which no setting of the
    proxy can mean. Raises :class:`ValueError` for anything else, a bare number included.
    """
    if text == "0":
        return 0.0
    seconds = 0.0
    end = 0
    while end < len(text):
        term = _TERM.match(text, end)
        if term is None:
            raise ValueError(f"not a duration: {text!r}")
        seconds += float(term.group(1)) * _UNITS[term.group(2)]
        end = term.end()
    if end == 0:
        raise ValueError("an empty duration")
    if seconds > _MAX_SECONDS:
        raise ValueError(f"a duration longer than 292 years: {text!r}")
    return seconds
