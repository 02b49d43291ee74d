# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the value of a variable is, for the rules about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]


def shape(value: Any) -> str:
    """What kind of value this is, without the value."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return f"a text of {len(value)} characters" if value else "an empty text"
    if isinstance(value, Mapping):
        return f"a map of {len(value)}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return type(value).__name__


def shown(value: Any, longest: int = 100) -> str:
    """The value as text for a message, cut where it is longer than *longest* characters."""
    text = str(value)
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"


def as_number(value: Any, low: int, high: int) -> int | None:
    """The whole number from *low* to *high* that a variable means; ``None`` if it means none.

    Numbers that came as text are written as they are used: ASCII digits, no sign, no leading zero
    (to systemd and nft, ``010`` is eight).
    """
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"0|[1-9][0-9]{0,9}", text):
        return None
    return int(text) if low <= int(text) <= high else None


def as_port(value: Any) -> int:
    """The port that a variable means, 0 if it means none."""
    return as_number(value, 1, 99999) or 0
