# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a stopping cloudflared waits for requests in flight (vendor reference, section 8)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import (
    Values,
    described,
)

VARIABLE = "cloudflared_grace_period"
LONGEST = 180.0  # seconds; with more cloudflared does not start
_DURATION = re.compile(r"([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)){1,8}")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """The seconds in a duration like ``1m30s``, which has been checked; ``0s`` is one, too."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(str(text)))


def check_grace_period(values: Values) -> Iterator[TunnelError]:
    """Whether it is a duration, and one with which cloudflared starts."""
    period = values[VARIABLE]
    if not isinstance(period, str) or not _DURATION.fullmatch(period):
        yield TunnelError(
            VARIABLE,
            f"{described(period)} is not a duration",
            "Write it with its unit, like 30s or 1m30s",
        )
    elif seconds(period) > LONGEST:
        yield TunnelError(
            VARIABLE,
            f"{period[:40]!r} is longer than cloudflared allows",
            "Use 3m at most: with more, cloudflared does not start",
        )
