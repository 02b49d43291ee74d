# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Problems that hosts share, as one wrong variable of their group makes them: told by one host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

_NAMED = 5
"""Hosts that are named; of more, the number is given."""


def headline(host: str, problems: Sequence[str]) -> str:
    """The refusal of *host* in one line; *problems* are all of its problems, told here or not."""
    count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    return f"{count} in the variables of {host}; no host was touched"


def told_by(
    host: str, problems: Sequence[str], hosts: Sequence[str], find: Callable[[str], Iterable[str]]
) -> tuple[list[str], list[str]]:
    """The problems that *host* tells, and references to the hosts before it that tell the others.

    :param hosts: all hosts of the play, in its order; *host* is among them.
    :param find: gives the problems of another host. It is asked about no more hosts than needed.
    """
    mine = list(dict.fromkeys(problems))
    place = hosts.index(host)
    told_before: Counter[str] = Counter()
    for other in hosts[:place]:
        if not mine:
            break
        shared = set(find(other)).intersection(mine)
        told_before[other] = len(shared)
        mine = [text for text in mine if text not in shared]
    sharing: dict[str, list[str]] = {text: [host] for text in mine}
    if mine:
        for other in hosts[place + 1 :]:
            for text in set(find(other)).intersection(mine):
                sharing[text].append(other)
    told = [text + _sharing(names, len(hosts)) for text, names in sharing.items()]
    references = [
        f"{number} problem{'s' if number > 1 else ''} that {other} has, too: see there"
        for other, number in told_before.items()
        if number
    ]
    return told, references


def _sharing(names: Sequence[str], of: int) -> str:
    if len(names) == 1:
        return ""
    if len(names) == of:
        return " (both hosts)" if of == 2 else f" (all {of} hosts)"
    if len(names) <= _NAMED:
        return f" ({', '.join(names)})"
    return f" ({', '.join(names[:_NAMED])} and {len(names) - _NAMED} more)"
