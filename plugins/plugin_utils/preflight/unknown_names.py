# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that are meant for this collection and are not known to it.

Ansible ignores a variable that nothing reads. So a misspelt ``proxy_allowed_ip`` would leave the
default of ``proxy_allowed_ips`` in force, which is wider than what the operator wanted.
"""

from __future__ import annotations

import difflib
import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options

#: Lists the names that look like ours and are not.
OTHERS = "mcp_tunnel_other_variables"
#: Names that look like public ones: what the playbooks register, and the report of an earlier run,
#: which a workflow of AWX gives to later ones.
_REGISTERED = frozenset(("mcp_tunnel_plan", "mcp_tunnel_report"))
#: How alike two names are at least, from 0 to 1: before one with another prefix is suggested, and
#: after it.
_ALMOST_THE_SAME = 0.9
_ALIKE = 0.7


@functools.cache
def prefixes() -> tuple[str, ...]:
    """The beginnings of public names: the words shared by names with the same first word."""
    names = sorted(role_options.defaults())
    families = itertools.groupby(names, key=lambda name: name.partition("_")[0])
    return tuple(_words_in_common(list(family)) for _word, family in families)


def _words_in_common(names: list[str]) -> str:
    """The words that all names share. They are sorted, so the first and the last one decide."""
    return names[0][: _shared(names[0], names[-1])].rpartition("_")[0] + "_"


def _shared(left: str, right: str) -> int:
    """The length of the beginning that both share."""
    pairs = zip(left, right)
    return sum(1 for _pair in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def check_names(names: Iterable[Any], others: Any) -> Iterator[TunnelError]:
    """One problem for each name that begins like ours, or is one slip away from one, and is none.

    :param names: names of all variables of a host. Those that begin with an underscore belong to
        the playbooks and roles themselves.
    :param others: the operator's value of :data:`OTHERS`; any value but a list lists nothing.
    """
    known = role_options.defaults().keys() | role_options.of_awx() | _REGISTERED
    listed = others if isinstance(others, (list, tuple)) else ()
    allowed = {name for name in listed if isinstance(name, str)}
    for name in sorted(map(str, names)):
        if name not in known and name not in allowed and _looks_like_ours(name):
            yield _problem(name)


def _looks_like_ours(name: str) -> bool:
    folded = name.lower()
    return folded.startswith(prefixes()) or any(
        _one_slip(folded, known) for known in role_options.defaults()
    )


def _one_slip(name: str, known: str) -> bool:
    """Whether one letter is wrong, missing or extra, or two neighbours have changed places."""
    if abs(len(name) - len(known)) > 1:
        return False
    begin = _shared(name, known)
    left, right = name[begin:], known[begin:]
    end = _shared(left[::-1], right[::-1])
    left, right = left[: len(left) - end], right[: len(right) - end]
    return max(len(left), len(right)) <= 1 or (len(left) == 2 and left == right[::-1])


def _nearest(name: str) -> str:
    """The known name that was probably meant, if there is one."""
    known = role_options.defaults()
    rest = _without_prefix(name)
    found = (
        difflib.get_close_matches(name, known, 1, _ALMOST_THE_SAME)
        or [other for other in known if _without_prefix(other) == rest]
        or difflib.get_close_matches(name, known, 1, _ALIKE)
    )
    return found[0] if found else ""


def _without_prefix(name: str) -> str:
    return next((name[len(begin) :] for begin in prefixes() if name.startswith(begin)), name)


def _problem(name: str) -> TunnelError:
    nearest = _nearest(name.lower())
    meant = f"Did you mean {nearest}?" if nearest else "docs/variables.md has all names."
    return TunnelError(
        ascii(name[:64])[1:-1],
        "is not a variable of mcp_tunnels.stack, though it is named like one; it would be ignored",
        f"{meant} If it belongs to something else, add its name to {OTHERS}",
    )
