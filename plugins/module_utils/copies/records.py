# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a state host knows of the copies of its state: in ``copies.json``, beside the state."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.archive import (
    is_time,
    seconds,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.state import (
    RECORD,
    read_state,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.state_files import StateFile

KINDS = ("backup", "standby")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Copy:
    """The last copy of a kind.

    :param state: fingerprint of the state that it has.
    :param sha256: that of the copy, encrypted.
    :param made_at: when it was made, in UTC as in RFC 3339.
    :param seen_at: when a run last saw that it is there, likewise.
    :param recipients: SHA-256 of the recipients that it was encrypted for.
    :param hosts: the replicas that keep it.
    """

    state: str
    sha256: str
    made_at: str
    seen_at: str
    recipients: str
    hosts: list[str] = field(default_factory=list)


def load(path: str) -> dict[str, Copy]:
    """The last copy of each kind of which something is known.

    A record that cannot be read counts as none: the next copy is made, and writes it anew.
    """
    try:
        found = json.loads(StateFile(path, RECORD).read() or "{}")
        return {kind: _copy(found[kind]) for kind in KINDS if kind in found}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def store(path: str, kind: str, copy: Copy) -> None:
    """Remembers the last copy of a kind."""
    known = {**load(path), kind: copy}
    text = json.dumps({kind: asdict(each) for kind, each in known.items()}, indent=1)
    StateFile(path, RECORD).ensure(text, check_mode=False)


def see(path: str, found: Mapping[str, str], at: str) -> None:
    """Remembers which replicas keep the standby copy, of those that a run has looked at.

    :param found: replicas to the SHA-256 of the copy there, '' for none.
    :param at: when, in UTC as in RFC 3339.
    """
    copy = load(path).get("standby")
    if copy is None:
        return
    there = {name for name, sha256 in found.items() if sha256 == copy.sha256}
    hosts = sorted((set(copy.hosts) - set(found)) | there)
    store(path, "standby", replace(copy, hosts=hosts, seen_at=at if there else copy.seen_at))


def as_copy(options: Mapping[str, Any]) -> Copy:
    """The copy in the option of a module, beside whatever else it has."""
    names = [each.name for each in fields(Copy)]
    return Copy(**{name: options[name] for name in names if name in options})


@dataclass(frozen=True)
class Known:
    """The copies of a state, beside the state: its fingerprint, empty if there is none."""

    state: str
    copies: Mapping[str, Copy]

    def is_current(self, kind: str, recipients: str = "") -> bool:
        """Whether the last copy of a kind is of the state as it is, and kept somewhere.

        :param recipients: those that it has to be encrypted for; empty for any.
        """
        copy = self.copies.get(kind)
        if copy is None or copy.state != self.state or (kind == "standby" and not copy.hosts):
            return False
        return recipients in ("", copy.recipients)


def look(path: str) -> Known:
    """The state in a directory, and the copies of it."""
    return Known(read_state(path).fingerprint(), load(path) if os.path.isdir(path) else {})


def age(copy: Copy, now: float | None = None) -> float:
    """Seconds since a run last saw the copy; none are negative, however clocks disagree."""
    return max((time.time() if now is None else now) - seconds(copy.seen_at), 0.0)


def _copy(entry: Mapping[str, Any]) -> Copy:
    """A copy of its fields; :raises ValueError: if they are none."""
    copy = Copy(**entry)
    sums = (copy.state, copy.sha256, copy.recipients)
    right = all(_SHA256.fullmatch(each) for each in sums) and all(
        is_time(each) for each in (copy.made_at, copy.seen_at)
    )
    if (
        not right
        or not isinstance(copy.hosts, list)
        or not all(isinstance(host, str) for host in copy.hosts)
    ):
        raise ValueError("no copy")
    return copy
