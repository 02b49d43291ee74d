# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The times at which a run may change something, like ``Mon-Fri 22:00-04:00 Europe/Berlin``.

The form is that of kube-downscaler's schedules: days, times, and a time zone of the IANA database;
several of them with commas in between. Times are those of a clock on the wall of that zone, also
on the days on which it is changed: a time that is skipped does not come, and one that comes twice
counts twice. What comes after midnight belongs to the day on which the window has opened.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import (
    Values,
    check_line,
    shape,
    shown,
)

WINDOW = "mcp_tunnel_window"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(
    r"(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))? (?P<opens>[0-9]{2}:[0-9]{2})-"
    r"(?P<closes>[0-9]{2}:[0-9]{2}) (?P<zone>[a-z0-9_+/-]{1,64})",
    re.IGNORECASE,
)
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00")
_WHOLE_DAY = 24 * 60  # minutes
_LOOK_AHEAD = 15
"""Days. A window of one day a week may be skipped once, when clocks are put forward."""
_REMEDY = (
    "Write days, times and a time zone, like Mon-Fri 22:00-04:00 Europe/Berlin; several with commas"
)


@dataclass(frozen=True)
class Span:
    """A part of a window: days of the week (0: Monday), and minutes of the day."""

    days: frozenset[int]
    opens: int
    closes: int
    zone: tzinfo

    def has(self, moment: datetime) -> bool:
        """Whether a clock of the zone shows a time of the span at that moment."""
        local = moment.astimezone(self.zone)
        minute, today = local.hour * 60 + local.minute, local.weekday()
        if self.opens < self.closes:
            return today in self.days and self.opens <= minute < self.closes
        return (today in self.days and minute >= self.opens) or (
            (today - 1) % 7 in self.days and minute < self.closes
        )


@dataclass(frozen=True)
class Window:
    """All spans of a window; it is open in each of them."""

    spans: tuple[Span, ...]

    def is_open(self, moment: datetime) -> bool:
        """Whether a run may change something at that moment, which has a time zone."""
        return any(span.has(moment) for span in self.spans)

    def next_opening(self, moment: datetime) -> datetime:
        """The first minute from that moment on at which it is open, in the zone of that span."""
        minute = moment.astimezone(timezone.utc).replace(second=0, microsecond=0)
        for _minute_ahead in range(_LOOK_AHEAD * _WHOLE_DAY):
            minute += timedelta(minutes=1)
            for span in self.spans:
                if span.has(minute):
                    return minute.astimezone(span.zone)
        raise AssertionError("each span has a day of the week and a minute")


def parse(text: str) -> Window:
    """Reads a window.

    :raises TunnelError: if it is none, or never opens.
    """
    check_line(text, WINDOW, 1000)
    return Window(tuple(_span(part.strip()) for part in text.split(",")))


def closed(text: str, at: float) -> str:
    """Why a run may change nothing at that time (seconds since the epoch); empty if it may."""
    window = parse(text)
    moment = datetime.fromtimestamp(at, timezone.utc)
    if window.is_open(moment):
        return ""
    opening = window.next_opening(moment)
    return f"{WINDOW} ({text}) is closed, and opens on {opening:%A, %Y-%m-%d at %H:%M %Z}"


def check_window(values: Values) -> Iterator[TunnelError]:
    """The problems with the variable."""
    value = values[WINDOW]
    if not isinstance(value, str):
        yield TunnelError(WINDOW, f"must be a text, is {shape(value)}", _REMEDY)
    elif value:
        try:
            parse(value)
        except TunnelError as error:
            yield error


def _span(text: str) -> Span:
    found = _FORM.fullmatch(text)
    if found is None:
        raise TunnelError(WINDOW, f"{shown(text)!r} is no time of the week", _REMEDY)
    first, last = (_day(found[name] or found["first"]) for name in ("first", "last"))
    days = frozenset((first + number) % 7 for number in range((last - first) % 7 + 1))
    opens, closes = (_minute(found[name]) for name in ("opens", "closes"))
    if opens in (closes, _WHOLE_DAY):
        raise TunnelError(
            WINDOW,
            f"never opens: {text}",
            "Let it close at another time than it opens; 00:00-24:00 is the whole day",
        )
    return Span(days, opens, closes, _zone(found["zone"]))


def _day(name: str) -> int:
    if name.lower() not in _DAYS:
        raise TunnelError(WINDOW, f"{name!r} is no day", "Use Mon, Tue, Wed, Thu, Fri, Sat or Sun")
    return _DAYS.index(name.lower())


def _minute(text: str) -> int:
    if not _TIME.fullmatch(text):
        raise TunnelError(WINDOW, f"{text!r} is no time of the day", "Use 00:00 to 24:00")
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _zone(name: str) -> tzinfo:
    # Also without a database.
    if name.upper() == "UTC":
        return timezone.utc
    try:
        return zoneinfo.ZoneInfo(name)
    # A folder of the database is no file, and a path out of it no key.
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):
        raise TunnelError(
            WINDOW,
            f"{name!r} is no time zone that this controller knows",
            "Use a name of the IANA database, like Europe/Berlin, or UTC. Without any, install "
            "the system's package tzdata",
        ) from None
