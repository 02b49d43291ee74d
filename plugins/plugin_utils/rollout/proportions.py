# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether events are more frequent in one group than chance explains, in several strata at once.

With few events, by the exact conditional test for 2 x 2 x K tables: in each stratum the number of
events in the group has a hypergeometric distribution, if both groups have the same rate, and their
sum is compared with what was seen. With one stratum, this is Fisher's exact test. With many events,
by the test of Mantel and Haenszel, its normal approximation, with the continuity correction.
See N. Mantel and W. Haenszel, J. Natl. Cancer Inst. 22 (1959) 719-748, and A. Agresti, Categorical
Data Analysis, on exact inference for 2 x 2 x K tables.

A stratum is a route here: routes differ in their rates, and a group may have more of one than the
other has. Without strata, that would look like a difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_EXACT_UP_TO = 1000
"""Events, in all, up to which the exact test takes no more than a moment."""


@dataclass(frozen=True)
class Stratum:
    """Events and cases of the group in question, and of the others."""

    events: int
    cases: int
    other_events: int
    other_cases: int

    @property
    def all_events(self) -> int:
        """The events of both."""
        return self.events + self.other_events

    @property
    def all_cases(self) -> int:
        """The cases of both."""
        return self.cases + self.other_cases


def probability(strata: Iterable[Stratum]) -> float:
    """The probability of at least as many events in the group, if its rates are the others'.

    A stratum in which one of the two has no cases says nothing.
    """
    told = [each for each in strata if each.cases and each.other_cases]
    seen = sum(each.events for each in told)
    if sum(each.all_events for each in told) > _EXACT_UP_TO:
        return _approximate(told, seen)
    total = [1.0]
    for each in told:
        total = _sum_of(total, _distribution(each))
    return min(math.fsum(total[seen:]), 1.0)


def expected(strata: Iterable[Stratum]) -> float:
    """The events that the group would have, at the others' rate in each stratum."""
    return math.fsum(
        each.cases * each.other_events / each.other_cases
        for each in strata
        if each.cases and each.other_cases
    )


def _distribution(stratum: Stratum) -> list[float]:
    """The probabilities of 0, 1, ... events in the group, with these sums of rows and columns."""
    events, others = stratum.all_events, stratum.all_cases - stratum.all_events
    whole = _log_choose(stratum.all_cases, stratum.cases)
    return [
        math.exp(_log_choose(events, number) + _log_choose(others, stratum.cases - number) - whole)
        if 0 <= stratum.cases - number <= others
        else 0.0
        for number in range(events + 1)
    ]


def _log_choose(total: int, part: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(part + 1) - math.lgamma(total - part + 1)


def _sum_of(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """The distribution of the sum of two independent numbers."""
    result = [0.0] * (len(first) + len(second) - 1)
    for at, one in enumerate(first):
        for number, other in enumerate(second, at):
            result[number] += one * other
    return result


def _approximate(strata: Sequence[Stratum], seen: int) -> float:
    mean = math.fsum(each.cases * each.all_events / each.all_cases for each in strata)
    variance = math.fsum(
        each.cases
        * each.other_cases
        * each.all_events
        * (each.all_cases - each.all_events)
        / (each.all_cases**2 * (each.all_cases - 1))
        for each in strata
    )
    # Nothing could be otherwise: all cases are events.
    if not variance:
        return 1.0
    return 0.5 * math.erfc((seen - mean - 0.5) / math.sqrt(2 * variance))
