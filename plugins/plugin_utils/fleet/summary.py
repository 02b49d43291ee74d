# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The summary of a run: which tunnels are done, which stopped and why, and who was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_LONGEST = 300
"""Characters of a reason. Hosts say what they like."""


@dataclass(frozen=True)
class Host:
    """A replica at the end of a run.

    :param instance: that of its plan.
    :param domain: the tunnel's, empty while it is unknown.
    :param failure: why it failed, does not work or could not be reached; empty if none of these.
    :param touched: whether its services were looked at, to be changed.
    """

    instance: str
    domain: str
    failure: str
    touched: bool


def by_tunnel(hosts: Mapping[str, Host]) -> dict[str, dict[str, Host]]:
    """Instance to its replicas."""
    tunnels: dict[str, dict[str, Host]] = {}
    for name, host in hosts.items():
        tunnels.setdefault(host.instance, {})[name] = host
    return tunnels


def ends(
    hosts: Mapping[str, Host], stopped: Mapping[str, str], left_out: Sequence[str]
) -> dict[str, list[str]]:
    """Instance to the lines that say why its tunnel is not done, as :func:`lines` has them."""
    return {
        instance: _end(replicas, stopped.get(instance, ""), left_out)
        for instance, replicas in by_tunnel(hosts).items()
    }


def lines(
    hosts: Mapping[str, Host], stopped: Mapping[str, str], left_out: Sequence[str]
) -> list[str]:
    """The summary of the hosts that took part.

    :param stopped: instance to the reason why nothing was begun.
    :param left_out: hosts that could not be reached and were not needed.
    """
    tunnels = by_tunnel(hosts)
    why_not = ends(hosts, stopped, left_out)
    told = [_count(sum(1 for why in why_not.values() if not why), len(why_not))]
    for instance, why in why_not.items():
        name = _name(instance, tunnels[instance])
        told += [f"  {name}: {line}" for line in why or [_done(tunnels[instance], left_out)]]
    if left_out:
        told.append(
            f"Left out, as they could not be reached: {', '.join(left_out)}. Run again for them."
        )
    return told


def reason(result: Mapping[str, Any]) -> str:
    """The first line of why a task failed on a host."""
    problems = result.get("problems") or [result.get("msg") or ""]
    told = problems if isinstance(problems, (list, tuple)) else [problems]
    found = [line.strip() for item in told for line in str(item).splitlines() if line.strip()]
    return found[0].removeprefix("Why: ")[:_LONGEST] if found else "It gave no message."


def _end(replicas: Mapping[str, Host], why: str, left_out: Sequence[str]) -> list[str]:
    """Why the tunnel is not done, as lines; none if it is."""
    if why:
        return [f"stopped before anything was changed: {why}"]
    away = set(left_out)
    failed = [name for name, host in replicas.items() if host.failure and name not in away]
    if not failed:
        return []
    untouched = [name for name, host in replicas.items() if not host.touched and not host.failure]
    rest = f" Not touched: {', '.join(untouched)}." if untouched else ""
    told = [f"stopped at {name}: {replicas[name].failure}" for name in failed]
    return [*told[:-1], f"{told[-1]}{rest}"]


def _count(done: int, of: int) -> str:
    if of == 1:
        return "The tunnel is done." if done else "The tunnel is not done."
    return f"{done} of {of} tunnels {'is' if done == 1 else 'are'} done."


def _done(replicas: Mapping[str, Host], left_out: Sequence[str]) -> str:
    return f"done ({', '.join(name for name in replicas if name not in left_out)})"


def _name(instance: str, replicas: Mapping[str, Host]) -> str:
    domain = next((host.domain for host in replicas.values() if host.domain), "")
    return f"{instance}, {domain}" if domain else instance
