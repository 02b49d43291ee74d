# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conclusions from the answers of a tunnel's replicas, before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import state_hosts
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import waves

_FORGET = "mcp_tunnel_forget"


@dataclass(frozen=True)
class Reach:
    """The replicas of one tunnel in a run.

    :param replicas: all of them in the inventory, also those that take no part.
    :param unreachable: those that did not answer.
    :param remembered: what each of the others remembers: ``state_host`` and ``replicas``.
    :param values: the variables of one of them.
    :param drained: those that are away from the edge on purpose.
    """

    replicas: Sequence[str]
    unreachable: Sequence[str]
    remembered: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, Any]
    drained: Sequence[str] = ()

    def state_host(self) -> state_hosts.Choice:
        """The state host.

        :raises TunnelError: if what they remember contradicts the variables.
        """
        claims = {name: found["state_host"] for name, found in self.remembered.items()}
        explicit = self.values["mcp_tunnel_state_host"]
        return state_hosts.choose(explicit, self.replicas, claims, self.values[_FORGET])

    def check(self, state_host: str, duty: str) -> None:
        """Refuses a run that cannot do without the replicas that it does not see.

        :raises TunnelError: naming them.
        """
        if duty != "deploy":
            self._check_whole(duty)
        elif self.unreachable:
            self._check_rest(state_host)

    def _check_whole(self, duty: str) -> None:
        # The state host has the list of all replicas; where it is lost, the others' word remains.
        known = {name for found in self.remembered.values() for name in found["replicas"]}
        unseen = sorted(known.difference(self.replicas, self.values[_FORGET]))
        if unseen and duty == "recover":
            raise TunnelError(
                ", ".join(unseen),
                "is a replica of this tunnel, as others remember, and the inventory of this run "
                f"shows no such replica of this instance; {duty} would cut it off",
                "Run with an inventory that has every replica (no slices, no disabled hosts). If "
                "it has another mcp_tunnel_instance now, run teardown.yml with the former one "
                f"there. If it is gone for good, set {_FORGET}: [{', '.join(unseen)}] for one run "
                "on the replicas of this instance",
            )
        if self.unreachable:
            raise TunnelError(
                ", ".join(self.unreachable),
                f"could not be reached; {duty} would cut it off",
                "Bring it back, or take it out of the inventory for good",
            )

    def _check_rest(self, state_host: str) -> None:
        who = ", ".join(self.unreachable)
        if state_host in self.unreachable:
            raise TunnelError(
                who,
                f"could not be reached, and {state_host} is the state host",
                "Bring it back; if it is lost, run recover.yml",
            )
        least = self.values[waves.MIN_AVAILABLE]
        left = len(self.replicas) - len({*self.unreachable, *self.drained})
        drained = f" ({', '.join(self.drained)}: drained)" if self.drained else ""
        if left < waves.least_of(least, len(self.replicas)):
            raise TunnelError(
                who,
                f"could not be reached, so {left} of {len(self.replicas)} replicas are left"
                f"{drained}, and {waves.MIN_AVAILABLE} is {least}",
                f"Bring it back, or set {waves.MIN_AVAILABLE} to less",
            )
