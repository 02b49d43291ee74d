# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations in the syntax of Go, which cloudflared and the vendor's tools use, plus whole days."""

from __future__ import annotations

import re
from datetime import timedelta

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
_GO = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|h|m|s))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)")
_DAYS = re.compile(r"([0-9]+)d")
# Beyond this, dates of certificates leave the range of their format.
_LONGEST = timedelta(days=100 * 365)


def parse_duration(text: str, subject: str = "duration") -> timedelta:
    """Reads ``720h``, ``1h30m``, ``90s`` or ``30d``.

    :raises TunnelError: if the text is not a positive duration of at most 100 years.
    """
    text = str(text).strip()
    days = _DAYS.fullmatch(text)
    seconds = 0.0
    if days:
        seconds = float(days.group(1)) * 86400
    elif _GO.fullmatch(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if not 0 < seconds <= _LONGEST.total_seconds():
        raise TunnelError(
            subject,
            f"{shown(text)!r} is not a duration between 0 and 100 years",
            "Write hours, minutes and seconds like 2160h or 1h30m, or whole days like 90d",
        )
    return timedelta(seconds=seconds)
