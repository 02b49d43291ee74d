# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host is the state host of an instance: explicit, or remembered, or the first by name.

The order of a group says nothing: platforms that run jobs change it. Nor does the first name of an
inventory that does not show every replica. So each replica remembers its state host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

CONTROLLER = "localhost"
_VARIABLE = "mcp_tunnel_state_host"


@dataclass(frozen=True)
class Choice:
    """The state host of an instance.

    :param name: the host.
    :param former: the one that the replicas remember, if it is another; empty otherwise.
    """

    name: str
    former: str = ""


def choose(
    explicit: str,
    replicas: Sequence[str],
    remembered: Mapping[str, str],
    forget: Sequence[str] = (),
) -> Choice:
    """The state host of an instance in a run.

    :param explicit: the value of ``mcp_tunnel_state_host``, empty if it is not set.
    :param replicas: all replicas in the inventory.
    :param remembered: host to the state host that it remembers, empty if it remembers none.
    :param forget: hosts that are gone for good, also those whose names other machines have now.
    :raises TunnelError: if a remembered one contradicts, and nothing says what became of it.
    """
    claims: dict[str, list[str]] = {}
    for name, state_host in remembered.items():
        if state_host and state_host not in forget:
            claims.setdefault(state_host, []).append(name)
    others = [name for name in claims if name != explicit]
    if others == [CONTROLLER] and not explicit and CONTROLLER not in replicas:
        # The variables alone lead tasks to the controller, no replica does.
        raise TunnelError(
            _VARIABLE,
            f"{', '.join(claims[CONTROLLER])} remember {CONTROLLER} as their state host, and the "
            "variables do not name it",
            f"Set it to {CONTROLLER} on the controller that has the credentials (ca.key), or to "
            "the host that has them now",
        )
    if len(others) > 1 and not explicit:
        told = "; ".join(f"{', '.join(claims[name])} remember {name}" for name in sorted(claims))
        raise TunnelError(
            _VARIABLE,
            f"the replicas do not agree on their state host: {told}",
            "Set it to the host that has the credentials of the instance (ca.key)",
        )
    seen = [name for name in others if name == CONTROLLER or name in replicas]
    unseen = [name for name in others if name not in seen]
    # An earlier run has agreed on the explicit one. A single replica cannot hinder this one.
    if unseen and explicit not in claims:
        raise TunnelError(
            _VARIABLE,
            f"{', '.join(claims[unseen[0]])} remember {unseen[0]} as their state host, and the "
            "inventory of this run shows no such replica of this instance. Another one would make "
            "another CA",
            "Run with an inventory that has it. If it has another name now, set "
            f"{_VARIABLE} to that and mcp_tunnel_forget: [{unseen[0]}] for one run. If it is gone "
            f"for good, run recover.yml with mcp_tunnel_forget: [{unseen[0]}]",
        )
    # One that was installed anew has its state from a copy, and every replica has its name.
    anew = [name for name in remembered.values() if name in forget and name in replicas]
    name = explicit or (others[0] if others else min(anew or replicas))
    return Choice(name, next((other for other in seen if other != name), ""))


def check_successor(
    replicas: Sequence[str], remembered: Sequence[str], breached: Sequence[str]
) -> None:
    """Refuses to choose the one that takes the place of a state host which was broken into.

    Where two runs chose differently, each state host would make a CA.

    :param replicas: the other replicas in the inventory.
    :param remembered: the state hosts that they remember.
    :param breached: the hosts that were broken into.
    :raises TunnelError: if it was one of them.
    """
    former = remembered or [min([*replicas, *breached])]
    lost = sorted(set(former).intersection(breached))
    if lost:
        raise TunnelError(
            _VARIABLE,
            f"is not set, and {', '.join(lost)}, the state host, was broken into",
            f"Set it to the replica that is to take its place ({', '.join(replicas[:10])}) in the "
            "inventory, or for this run and the next ones, and run again",
        )
