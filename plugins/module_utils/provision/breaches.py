# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The marks of hosts that were broken into. A marked host gets no credentials any more.

The state host keeps them beside its members, as an inventory may show the host for ever. A mark
also says which CA had signed for the host: its certificates are good until that CA is archived.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

MOST = 500
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:-]{0,252}[A-Za-z0-9_])?\Z")
_FORM = {
    "machine": re.compile(r"(?:[0-9a-f]{16,64})?\Z"),
    "since": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z"),
    "ca": re.compile(r"(?:[0-9a-f]{64})?\Z"),
}


@dataclass(frozen=True)
class Mark:
    """The mark of a host.

    :param machine: what tells its machine from others, empty if that is not known.
    :param since: time of the mark in UTC, as in RFC 3339.
    :param ca: SHA-256 of the CA at that time, empty if the state host had none: it is a new one.
    """

    machine: str
    since: str
    ca: str


Marks = Mapping[str, Mark]


def with_hosts(marks: Marks, machines: Mapping[str, str], ca: str, now: str) -> dict[str, Mark]:
    """The marks with these hosts. One that is there stays as it is.

    :param machines: host to what tells its machine from others.
    """
    added = {name: Mark(machine, now, ca) for name, machine in machines.items()}
    return {**added, **marks}


def newest(marks: Marks) -> str:
    """The time of the last mark, empty if there is none."""
    return max((each.since for each in marks.values()), default="")


def is_due(marks: Marks, ca: str, is_rotating: bool) -> bool:
    """Whether a CA whose certificates a marked host may have is still trusted.

    A CA that was registered before the mark is not new enough, even if it was being rotated in.

    :param ca: SHA-256 of the CA in use, empty if there is none.
    :param is_rotating: whether another one is registered beside it.
    """
    return bool(marks) and (is_rotating or any(each.ca == ca for each in marks.values()))


def check(
    marks: Marks,
    names: Iterable[str],
    forget: Collection[str],
    machines: Mapping[str, str],
    subject: str,
) -> None:
    """Refuses credentials for a marked host, unless it is another machine now and is named.

    :param names: the hosts that are to get credentials.
    :param forget: the hosts that the operator names as gone.
    :param machines: host of the run to what tells its machine from others.
    :raises TunnelError: naming the hosts.
    """
    back = returning(marks, forget, machines)
    found = sorted(name for name in names if name in marks and name not in back)
    if found:
        raise TunnelError(
            subject,
            f"{', '.join(found)} was taken out as broken into ({marks[found[0]].since}), and gets "
            "no credentials",
            "Take it out of the inventory, or leave it out with --limit. Once it was installed "
            f"anew, set mcp_tunnel_forget: [{', '.join(found)}] for one run of site.yml; the same "
            "/etc/machine-id counts as the same machine",
        )


def returning(marks: Marks, forget: Collection[str], machines: Mapping[str, str]) -> frozenset[str]:
    """The marked hosts that the operator names, and whose name another machine has now."""
    return frozenset(
        name
        for name, mark in marks.items()
        if name in forget and machines.get(name, mark.machine) != mark.machine
    )


def as_entries(marks: Marks) -> dict[str, dict[str, str]]:
    """The marks for a file."""
    return {name: dict(vars(mark)) for name, mark in sorted(marks.items())}


def as_marks(entries: Any) -> dict[str, Mark] | None:
    """The marks in a file; ``None`` if they are none."""
    if not isinstance(entries, dict) or len(entries) > MOST:
        return None
    if not all(_NAME.match(name) and _is_mark(each) for name, each in entries.items()):
        return None
    return {name: Mark(**each) for name, each in entries.items()}


def _is_mark(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() == _FORM.keys()
        and all(isinstance(entry[key], str) and _FORM[key].match(entry[key]) for key in _FORM)
    )
