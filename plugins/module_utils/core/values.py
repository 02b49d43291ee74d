# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describes, checks and converts the values of variables, for the rules about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import (
    TunnelError,
    has_control,
)

Values = Mapping[str, Any]


def shape(value: Any) -> str:
    """The kind of the value, without the value."""
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


def described(value: Any) -> str:
    """A wrong value as a message quotes it; a long value, or one that is no scalar, by its kind."""
    is_short = isinstance(value, (str, int, float)) and len(str(value)) <= 100
    return repr(value) if is_short else shape(value)


def check_line(text: str, subject: str, longest: int = 255) -> str:
    """Returns a text that is one line: a name, a reason, a path.

    :raises TunnelError: if it is longer, has control characters, or blanks around it.
    """
    if len(text) > longest:
        problem = f"is longer than {longest} characters"
    elif has_control(text):
        problem = "has a line break or another control character in it"
    elif text != text.strip():
        problem = "has blanks around it"
    else:
        return text
    raise TunnelError(subject, problem, "Write it on one line, and shorter if need be")


def check_path(value: Any, subject: str) -> str:
    """Returns an absolute path of a file on a host.

    :raises TunnelError: if it is none, or is more than one line.
    """
    if not isinstance(value, str) or not value.startswith("/"):
        raise TunnelError(
            subject, f"must be an absolute path, is {shape(value)}", "Give the whole path"
        )
    return check_line(value, subject, 4096)


def as_number(value: Any, low: int, high: int) -> int | None:
    """The whole number from *low* to *high* that a variable means; ``None`` if it means none.

    A number that came as text has to have its plain form: ASCII digits, no sign, no leading zero
    (to systemd and nft, ``010`` is eight).
    """
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"0|[1-9][0-9]{0,9}", text):
        return None
    return int(text) if low <= int(text) <= high else None


def as_port(value: Any) -> int:
    """The port that a variable means, 0 if it means none."""
    return as_number(value, 1, 99999) or 0
