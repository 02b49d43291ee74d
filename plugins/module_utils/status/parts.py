# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One part of the status: it has a state, and says by itself why it could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import (
    TunnelError,
    without_control,
)

OK, NOTICE, NOT_PROVEN, FAILED, UNKNOWN = "ok", "notice", "not proven", "FAILED", "unknown"
#: The worst one first.
STATES = (FAILED, UNKNOWN, NOTICE, NOT_PROVEN, OK)
_UNHEALTHY = (FAILED, UNKNOWN)
_MALFORMED = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError,
)  # fmt: skip

Part = dict[str, Any]


class Unread(Exception):
    """Somebody who should have answered did not; the text says who, and why."""


def part(read: Callable[[], Part], template: Part) -> Part:
    """The result of *read* with ``state`` and ``error``; it never hides the parts beside it.

    :param template: the keys that the part always has, with the values of one that is unknown.
    """
    try:
        found = {**template, "state": OK, "error": "", **read()}
    except TunnelError as error:
        found = unknown(template, f"{error.subject}: {error.problem}", error.remedy)
    except Unread as error:
        found = unknown(template, str(error))
    except OSError as error:
        remedy = "Run it as root" if isinstance(error, PermissionError) else ""
        found = unknown(template, f"{error.filename or 'system'}: {error.strerror}", remedy)
    except _MALFORMED as error:
        found = unknown(template, f"what was read is not as expected: {error!r}")
    return {name: clean(value) for name, value in found.items()}


def unknown(template: Part, error: str, remedy: str = "") -> Part:
    """A part that could not be read."""
    return {**template, "state": UNKNOWN, "error": error, "remedy": remedy}


def worst(states: Iterable[str]) -> str:
    """The worst of the states; ok if there is none."""
    return min(states, key=STATES.index, default=OK)


def is_healthy(states: Iterable[str]) -> bool:
    """Whether none of the states says that something does not work, or is not known."""
    return not any(state in _UNHEALTHY for state in states)


def clean(value: Any) -> Any:
    """The value with texts that no terminal obeys: parts of them come from other machines."""
    if isinstance(value, str):
        return without_control(value)
    if isinstance(value, dict):
        return {without_control(str(name)): clean(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value
