"""A canary that does worse than the others, and canaries that do not."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout import comparison, figures

BOUNDS = ("0.01", "0.1", "1.0", "+Inf")


def counts(started=1, handshakes=(100, 0), **routes):
    """Return the answer of a host. A route: answered, failed, and those within each bound."""
    rows = [
        {
            "route": "-" if name == "none" else name,
            "answered": answered,
            "failed": failed,
            "first_bytes": [
                {"within": bound, "count": count} for bound, count in zip(BOUNDS, within)
            ],
        }
        for name, (answered, failed, *within) in routes.items()
    ]
    up, down = handshakes
    return {"started": started, "handshakes": up, "handshake_failures": down, "routes": rows}


def judge(canary, *others):
    beside = figures.together(figures.read(each) for each in others)
    return comparison.judge(figures.read(canary), beside, "at the others")


def test_every_twentieth_request_is_a_regression():
    verdict = judge(counts(echo=(300, 15)), counts(echo=(290, 0)))
    assert verdict.problems == [
        "requests answered with 5xx: 15 of 300 (5.0%) here, 0 of 290 (0.0%) at the others"
    ]


@pytest.mark.parametrize(
    ("canary", "others"),
    [
        # Nothing fails.
        (counts(echo=(300, 0)), counts(echo=(290, 0))),
        # An upstream that is down is down for all.
        (counts(echo=(300, 300)), counts(echo=(290, 290))),
        (counts(echo=(300, 31)), counts(echo=(290, 29))),
        # Of the route that fails everywhere, the canary has more.
        (counts(echo=(300, 0), bad=(100, 50)), counts(echo=(390, 0), bad=(10, 5))),
        # As chance would have it.
        (counts(echo=(300, 3)), counts(echo=(290, 0))),
        # More, and not twice as many.
        (counts(echo=(9000, 1500)), counts(echo=(9000, 1000))),
        # A route that the others have not been asked for.
        (counts(echo=(200, 0), new=(90, 90)), counts(echo=(290, 0))),
        # Half are slow everywhere.
        (
            counts(echo=(300, 0, 100, 150, 290, 300)),
            counts(echo=(300, 0, 110, 160, 290, 300)),
        ),
    ],
)
def test_no_regression(canary, others):
    verdict = judge(canary, others)
    assert verdict.problems == []
    assert verdict.judged


@pytest.mark.parametrize(
    ("canary", "others", "told"),
    [
        (
            counts(echo=(200, 0), none=(40, 40)),
            counts(echo=(200, 0), none=(1, 1)),
            "requests without a route: 40 of 240",
        ),
        (
            counts((1), (70, 30), echo=(200, 0)),
            counts((1), (100, 1), echo=(200, 0)),
            "inner TLS handshakes that failed: 30 of 100",
        ),
        (
            counts(echo=(300, 0, 0, 150, 300, 300)),
            counts(echo=(300, 0, 200, 295, 300, 300)),
            "slow first bytes: 150 of 300",
        ),
    ],
)
def test_other_regressions(canary, others, told):
    (problem,) = judge(canary, others).problems
    assert problem.startswith(told)


@pytest.mark.parametrize(
    ("canary", "others"),
    [
        (counts(echo=(99, 0)), counts(echo=(5000, 0))),
        (counts(echo=(5000, 0)), counts(echo=(99, 0))),
        (counts(), counts()),
    ],
)
def test_little_traffic_proves_nothing(canary, others):
    verdict = judge(canary, others)
    assert verdict.problems == []
    assert not verdict.judged
    assert verdict.summary.startswith("not enough traffic to judge: ")


def test_little_traffic_is_enough_for_what_is_plain():
    verdict = judge(counts(echo=(30, 30)), counts(echo=(90, 0)))
    assert verdict.judged
    assert len(verdict.problems) == 1


HUGE = counts(echo=(10**9, 0))
USUAL = counts(echo=(10**6, 3))
BROKEN = counts(echo=(10**6, 300))


@pytest.mark.parametrize(
    ("canary", "others", "is_worse"),
    [
        # One that says it has answered everything does not decide.
        (USUAL, {"liar": HUGE, "r2": USUAL}, False),
        (USUAL, {"liar": HUGE, "r2": USUAL, "r3": USUAL}, False),
        # Nor does one that says it fails as often.
        (BROKEN, {"liar": counts(echo=(10**9, 10**9)), "r2": USUAL, "r3": USUAL}, True),
        # Of two, both.
        (BROKEN, {"r2": USUAL, "r3": USUAL}, True),
        (BROKEN, {"r2": USUAL, "r3": BROKEN}, False),
        # A single one is trusted. One with little traffic is no second.
        (BROKEN, {"r2": USUAL}, True),
        (BROKEN, {"r2": USUAL, "idle": counts(echo=(99, 99))}, True),
        # None has enough alone.
        (counts(echo=(300, 30)), {"r2": counts(echo=(90, 0)), "r3": counts(echo=(90, 0))}, True),
    ],
)
def test_most_of_the_others_decide(canary, others, is_worse):
    beside = {name: figures.read(each) for name, each in others.items()}
    verdict = comparison.judge_beside(figures.read(canary), beside)
    assert bool(verdict.problems) is is_worse
    assert verdict.judged


def test_replicas_that_are_outvoted_are_named():
    others = {"liar": figures.read(HUGE), "r2": figures.read(USUAL), "r3": figures.read(USUAL)}
    verdict = comparison.judge_beside(figures.read(USUAL), others)
    assert verdict.summary == (
        "does no worse than most: 1000000 requests here, 1000000000 at liar, 1000000 at r2, "
        "1000000 at r3. Worse than liar alone: requests answered with 5xx: "
        "3 of 1000000 (0.0%) here, 0 of 1000000000 (0.0%) at liar"
    )


def test_a_quiet_canary_has_proven_nothing_beside_any():
    others = {name: figures.read(USUAL) for name in ("r2", "r3")}
    verdict = comparison.judge_beside(figures.read(counts(echo=(99, 0))), others)
    assert (verdict.problems, verdict.judged) == ([], False)


def test_several_others_count_together():
    one = counts(echo=(40, 1, 10, 20, 30, 40))
    more = figures.together([figures.read(one), figures.read(one), figures.read(counts(b=(7, 0)))])
    assert more.requests == 87
    assert more.routes["echo"] == figures.Route(
        80, 2, {"0.01": 20, "0.1": 40, "1.0": 60, "+Inf": 80}
    )


def test_growth_is_of_the_time_between():
    before = counts(handshakes=(5, 1), echo=(10, 1, 1, 2, 3, 10))
    after = counts(handshakes=(9, 1), echo=(30, 2, 1, 12, 13, 30), new=(4, 0))
    grown = figures.growth(before, after)
    assert (grown.handshakes, grown.handshake_failures) == (4, 0)
    assert grown.routes["echo"] == figures.Route(
        20, 1, {"0.01": 0, "0.1": 10, "1.0": 10, "+Inf": 20}
    )
    assert grown.routes["new"].answered == 4


@pytest.mark.parametrize(
    "after",
    [
        counts(started=2, echo=(30, 1)),
        counts(echo=(9, 1)),
        counts(echo=(12, 9)),
        counts(handshakes=(99, 0), echo=(30, 1)),
        counts(echo=(30, 1, 9, 8, 7, 6)),
    ],
    ids=["restarted", "fewer", "more failed than answered", "handshakes", "not cumulative"],
)
def test_counts_that_cannot_be(after):
    assert figures.growth(counts(echo=(10, 1)), after) is None
