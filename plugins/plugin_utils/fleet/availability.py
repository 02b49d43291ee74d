# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many replicas of a tunnel work, and whether some of them may leave the edge.

What a run has not looked at counts as not working: a replica outside ``--limit``, one that could
not be reached, one whose answer was refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import neighbours
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import waves
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.canaries import (
    CANARY,
    SOAK,
    canaries_of,
)

_NAMES = "mcp_tunnel_drain"
_LAST = "mcp_tunnel_drain_last"
_NOT_BY_NAMES = {
    "reboot": "Leave it out. reboot takes one replica after the other; with "
    "mcp_tunnel_reboot_when: needed, those whose updates wait for it",
    "undrain": "Leave it out, and use --limit",
}
"""The duties that go by no names, and the remedy where some are given."""


@dataclass(frozen=True)
class Standing:
    """How a replica stands, as far as this run knows.

    :param healthy: whether it works, ``None`` if this run has not seen that.
    :param drained: whether it is away from the edge on purpose.
    :param lost: whether it took part in this run, and has failed or could not be reached.
    """

    healthy: bool | None = None
    drained: bool = False
    lost: bool = False

    @property
    def serves(self) -> bool:
        """Whether it certainly serves requests."""
        return self.healthy is True and not self.drained

    def __str__(self) -> str:
        if self.drained:
            return "is drained"
        if self.healthy is not None:
            return "does not work"
        return "could not be looked at" if self.lost else "was not looked at in this run"


def tunnels(
    group: neighbours.Hosts, taking_part: Collection[str], drained: Collection[str] = ()
) -> Iterator[tuple[list[str], int]]:
    """The replicas of each instance that take part, and the number that may be away at once.

    :param drained: those that are away already, in addition.
    """
    for names in neighbours.instances(group).values():
        # A replica with another value is refused; until then, the smallest does least harm.
        batch = min(waves.batch_of(group[name][waves.BATCH], len(names)) for name in names)
        away = len([name for name in names if name in drained])
        yield [name for name in names if name in taking_part], max(batch - away, 1)


def roll_out(
    group: neighbours.Hosts, taking_part: Collection[str], drained: Collection[str] = ()
) -> Iterator[tuple[list[str], int, list[str]]]:
    """The same for a roll-out, with the canaries of each instance."""
    for names, batch in tunnels(group, taking_part, drained):
        yield names, batch, canaries(group, names, drained)


def canaries(
    group: neighbours.Hosts, names: Sequence[str], drained: Collection[str] = ()
) -> list[str]:
    """The canaries of a tunnel among its replicas *names*, of which there may be none.

    :param drained: those that serve nobody. Such a one is a canary only if all others are drained.
    """
    if not names:
        return []
    values = group[names[0]]
    serving = [name for name in names if name not in drained]
    return canaries_of(values[CANARY], values[SOAK], serving or names)


def least(group: neighbours.Hosts, names: Sequence[str]) -> Any:
    """The ``mcp_tunnel_min_available`` of a tunnel. Of several, that which asks for most."""
    values = [group[name][waves.MIN_AVAILABLE] for name in names]
    return max(values, key=lambda value: waves.least_of(value, len(names)))


def leaving(
    group: neighbours.Hosts, taking_part: Sequence[str], duty: str
) -> tuple[list[str], list[TunnelError]]:
    """The replicas that the run is to drain, and the problems with their names.

    Without names they are those of ``--limit``. A run over the whole group names them.

    :param duty: the purpose of the run; one that is not ``drain`` drains nobody that is named.
    """
    given = [group[name][_NAMES] for name in taking_part if name in group]
    named = dict.fromkeys(name for each in given if isinstance(each, list) for name in each)
    if duty != "drain":
        # Somebody who names one replica does not mean all of them.
        return [], [_not_for(duty)] if named and duty in _NOT_BY_NAMES else []
    if named:
        problems = [_stranger(name, group) for name in named if name not in taking_part]
        return [name for name in named if name in taking_part], problems
    if set(taking_part) >= set(group):
        remedy = "Name them, as mcp_tunnel_drain: [replica2]"
        return [], [TunnelError(_NAMES, "does not say which replicas are to be drained", remedy)]
    return [name for name in taking_part if name in group], []


def _not_for(duty: str) -> TunnelError:
    return TunnelError(_NAMES, f"is for drain, and {duty} does not go by it", _NOT_BY_NAMES[duty])


def _stranger(name: str, group: neighbours.Hosts) -> TunnelError:
    shown = repr(name if isinstance(name, str) and len(name) < 100 else "...")
    if name in group:
        return TunnelError(
            _NAMES, f"names {shown}, which takes no part in this run", "Run without --limit"
        )
    return TunnelError(
        _NAMES, f"names {shown}, which is no replica", "Use names of the group mcp_tunnel"
    )


def too_few(
    replicas: Mapping[str, Standing], away: Collection[str], minimum: Any, reboot: bool = False
) -> TunnelError | None:
    """Why these replicas of a tunnel may not be away at the same time; ``None`` if they may.

    :param replicas: all replicas of the tunnel.
    :param away: those that are to leave; those among them that are drained already do not count.
    :param minimum: the tunnel's ``mcp_tunnel_min_available``.
    :param reboot: whether they leave for a reboot.
    """
    going = [name for name in away if not replicas[name].drained]
    left = [name for name in replicas if replicas[name].serves and name not in away]
    if not going or len(left) >= waves.least_of(minimum, len(replicas)):
        return None
    rest = {name: each for name, each in replicas.items() if not (each.serves or name in away)}
    told = "; ".join(f"{name} {each}" for name, each in rest.items())
    others = f" ({told})" if told else ""
    return TunnelError(
        ", ".join(going),
        f"may not leave: {len(left)} of {len(replicas)} replicas would be known to work{others}, "
        f"and {waves.MIN_AVAILABLE} is {minimum}",
        f"{_remedy(rest, len(going), reboot)}, or set {_LAST}: true for one run",
    )


def _remedy(rest: Mapping[str, Standing], going: int, reboot: bool) -> str:
    """The first step that helps. No other refusal may lead back to this one.

    :param rest: the replicas that stay, and are not known to serve.
    :param going: how many are to leave.
    """
    unknown = [name for name, each in rest.items() if each.healthy is None and not each.drained]
    unseen = [name for name in unknown if not rest[name].lost]
    if unseen and reboot:
        return f"Run on {', '.join(unseen)} as well: one is rebooted after the other"
    if unseen:
        return f"Run on all replicas, without --limit, with those to drain in {_NAMES}"
    if unknown:
        return f"Mend {', '.join(unknown)} first, see above"
    if rest:
        return "Bring the others back first (undrain.yml; verify.yml says what they lack)"
    if going == 1:
        return f"Deploy one more replica, or set {waves.MIN_AVAILABLE} to less"
    return f"Set {waves.BATCH} to less" if reboot else "Drain fewer at a time"
