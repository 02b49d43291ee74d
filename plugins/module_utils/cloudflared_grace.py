# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a stopping cloudflared waits for requests in flight (vendor reference, section 8)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.setting_values import Values

VARIABLE = "cloudflared_grace_period"
LONGEST = 180.0  # seconds; with more cloudflared does not start
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """The seconds in a duration like ``1m30s``, which has been checked; ``0s`` is one, too."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(str(text)))


def check_grace_period(values: Values) -> Iterator[TunnelError]:
    """Whether cloudflared starts with it; that it is a duration is a rule of its own."""
    period = values[VARIABLE]
    if isinstance(period, str) and seconds(period) > LONGEST:
        yield TunnelError(
            VARIABLE,
            f"{period[:40]!r} is longer than cloudflared allows",
            "Use 3m at most: with more, cloudflared does not start",
        )
