"""The test for small counts, beside all ways in which chance could have dealt the events."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.proportions import (
    Stratum,
    expected,
    probability,
)


def dealt(strata):
    """Return the same by counting all ways to choose the cases that are the group's."""
    seen = sum(first for first, _cases, _second, _others in strata)
    sums = {0: Fraction(1)}
    for first, cases, second, others in strata:
        deck = [1] * (first + second) + [0] * (cases + others - first - second)
        hands = [sum(hand) for hand in itertools.combinations(deck, cases)]
        grown: dict[int, Fraction] = {}
        for number, part in sums.items():
            for hand in hands:
                grown[number + hand] = grown.get(number + hand, 0) + part / len(hands)
        sums = grown
    return float(sum(part for number, part in sums.items() if number >= seen))


@pytest.mark.parametrize(
    "strata",
    [
        [(3, 6, 0, 6)],
        [(0, 5, 3, 5)],
        [(5, 5, 0, 7)],
        [(2, 8, 1, 4)],
        [(4, 4, 4, 4)],
        [(2, 5, 0, 5), (2, 4, 1, 6)],
        [(1, 4, 0, 4), (3, 5, 1, 5), (0, 3, 2, 5)],
    ],
)
def test_it_counts_as_chance_would_deal(strata):
    assert probability(Stratum(*each) for each in strata) == pytest.approx(dealt(strata))


def test_a_side_without_cases_says_nothing():
    assert probability([]) == 1
    assert probability([Stratum(5, 5, 0, 0), Stratum(0, 0, 5, 5)]) == 1
    assert expected([Stratum(5, 5, 0, 0), Stratum(0, 0, 5, 5)]) == 0


def test_many_events_agree_with_the_exact_numbers_beside_the_limit():
    """Of 1000 events and of 1001, in the same proportions."""
    exact = probability([Stratum(540, 5000, 460, 5000)])
    near = probability([Stratum(541, 5000, 460, 5000)])
    assert near == pytest.approx(exact, rel=0.15)
    assert 0.001 < near < 0.01


@pytest.mark.parametrize("events", [10, 5000])
def test_where_everything_fails_nothing_differs(events):
    assert probability([Stratum(events, events, events, events)]) == pytest.approx(1)


def test_routes_that_fail_more_often_are_no_difference_of_the_group():
    """The group has more of the route of which a half fails everywhere."""
    mixed = [Stratum(450, 900, 50, 100), Stratum(0, 100, 0, 900)]
    assert probability(mixed) > 0.4
    assert probability([Stratum(450, 1000, 50, 1000)]) < 1e-9
    assert expected(mixed) == 450
