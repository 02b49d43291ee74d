# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a canary does worse than the replicas beside it, or than it did before.

It does if something bad is at least twice as frequent there, and chance alone would make it so
frequent in less than one of a thousand cases (see ``proportions``). Four things count, each as a
part of a whole: requests of a route with a status of 5xx, requests that no route answers, inner TLS
that does not come up, and slow first bytes.

Errors that all replicas have, as of an upstream that is down, are as frequent beside it, and put
nothing back. Each other replica is a comparison of its own, and most of them have to agree: the
counts of one, which may lie, would outweigh all others in a sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.figures import (
    UNROUTED,
    Figures,
    Route,
    together,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.proportions import (
    Stratum,
    expected,
    probability,
)

LEAST_REQUESTS = 100
"""Requests on either side, below which a canary without a regression has proven nothing."""

_CHANCE = 0.001
_TIMES = 2
_USUAL = 0.95
"""The part of the others' responses that is not slow: the limit is the bound that includes it."""


@dataclass(frozen=True)
class Verdict:
    """``problems``: in what the canary does worse. ``judged``: whether there was enough traffic."""

    problems: Sequence[str]
    judged: bool
    summary: str


def judge_beside(canary: Figures, others: Mapping[str, Figures]) -> Verdict:
    """Compares the figures of a canary with those of each replica beside it.

    It is worse if it is worse than more than half of those that have had enough requests. If none
    has, all together are one comparison.

    :param others: the figures by the name of the replica.
    """
    able = [name for name in sorted(others) if others[name].requests >= LEAST_REQUESTS]
    if not able:
        return judge(canary, together(others.values()), f"at {', '.join(sorted(others))}")
    verdicts = {name: judge(canary, others[name], f"at {name}") for name in able}
    worse = {name: verdict for name, verdict in verdicts.items() if verdict.problems}
    beside = ", ".join(f"{others[name].requests} at {name}" for name in able)
    counted = f"{canary.requests} requests here, {beside}"
    problems = [problem for verdict in worse.values() for problem in verdict.problems]
    if 2 * len(worse) > len(able):
        return Verdict(problems, True, f"does worse: {counted}")
    if canary.requests < LEAST_REQUESTS:
        return Verdict([], False, f"not enough traffic to judge: {counted}")
    if worse:
        alone = f"Worse than {', '.join(worse)} alone: {'; '.join(problems)}"
        return Verdict([], True, f"does no worse than most: {counted}. {alone}")
    return Verdict([], True, f"does as well: {counted}")


def judge(canary: Figures, others: Figures, beside: str) -> Verdict:
    """Compares the figures of a canary.

    :param others: those that it is compared with: of other replicas, or its own earlier ones.
    :param beside: what they are, for the message.
    """
    problems = [
        _told(name, strata, beside)
        for name, strata in _measures(canary, others)
        if _is_worse(strata)
    ]
    enough = min(canary.requests, others.requests) >= LEAST_REQUESTS
    counted = f"{canary.requests} requests here, {others.requests} {beside}"
    if problems:
        return Verdict(problems, True, f"does worse: {counted}")
    if not enough:
        return Verdict([], False, f"not enough traffic to judge: {counted}")
    return Verdict([], True, f"does as well: {counted}")


def _measures(canary: Figures, others: Figures) -> Iterator[tuple[str, list[Stratum]]]:
    shared = sorted(canary.routes.keys() & others.routes.keys() - {UNROUTED})
    pairs = [(canary.routes[name], others.routes[name]) for name in shared]
    yield (
        "requests answered with 5xx",
        [Stratum(one.failed, one.answered, two.failed, two.answered) for one, two in pairs],
    )
    yield (
        "requests without a route",
        [Stratum(canary.unrouted, canary.requests, others.unrouted, others.requests)],
    )
    yield (
        "inner TLS handshakes that failed",
        [
            Stratum(
                canary.handshake_failures,
                canary.handshakes + canary.handshake_failures,
                others.handshake_failures,
                others.handshakes + others.handshake_failures,
            )
        ],
    )
    yield "slow first bytes", [_slow(one, two) for one, two in pairs]


def _slow(canary: Route, others: Route) -> Stratum:
    """Those slower than nearly all of the others'."""
    bounds = sorted(canary.first_bytes.keys() & others.first_bytes.keys(), key=float)
    if not bounds:
        return Stratum(0, 0, 0, 0)
    whole, theirs = canary.first_bytes[bounds[-1]], others.first_bytes[bounds[-1]]
    limit = next(bound for bound in bounds if others.first_bytes[bound] >= _USUAL * theirs)
    fast, others_fast = canary.first_bytes[limit], others.first_bytes[limit]
    return Stratum(whole - fast, whole, theirs - others_fast, theirs)


def _is_worse(strata: Sequence[Stratum]) -> bool:
    seen = sum(each.events for each in strata if each.other_cases)
    return seen >= _TIMES * expected(strata) and probability(strata) < _CHANCE


def _told(name: str, strata: Sequence[Stratum], beside: str) -> str:
    told = [each for each in strata if each.cases and each.other_cases]
    events, cases = sum(each.events for each in told), sum(each.cases for each in told)
    theirs, of_them = sum(each.other_events for each in told), sum(e.other_cases for e in told)
    return (
        f"{name}: {events} of {cases} ({events / cases:.1%}) here, "
        f"{theirs} of {of_them} ({theirs / of_them:.1%}) {beside}"
    )
