from __future__ import annotations

import pytest

from benchmarks.figures import Sample, compare, percentile, round_significant


def test_ratio_is_the_median_of_paired_ratios() -> None:
    # The machine is twice as slow in the second round and three times in the third.
    pairs = [
        (Sample(10), Sample(5)),
        (Sample(20), Sample(10)),
        (Sample(60), Sample(15)),
    ]
    row = compare("µs", pairs)
    assert (row.ratio, row.low, row.high) == (2, 2, 4)
    assert (row.ours, row.rival) == (20, 10)


def test_parts_and_rates_are_medians() -> None:
    ours = Sample(3, {"proxy": 3}, 100)
    rivals = [Sample(3, {"a": a, "b": 3 - a}, 10 * a) for a in (0.5, 1, 2)]
    row = compare("µs", [(ours, rival) for rival in rivals])
    assert row.rival_parts == {"a": 1, "b": 2}
    assert (row.ours_rate, row.rival_rate) == (100, 10)


@pytest.mark.parametrize("pairs", [[], [(Sample(0), Sample(1))], [(Sample(1), Sample(-1))]])
def test_nothing_is_compared_that_was_not_measured(pairs: list[tuple[Sample, Sample]]) -> None:
    with pytest.raises(ValueError, match=r"no rounds|not positive"):
        compare("µs", pairs)


def test_percentile_is_a_measured_value() -> None:
    values = [float(v) for v in range(100, 0, -1)]
    assert percentile(values, 99) == 99
    assert percentile(values, 100) == 100
    assert percentile([7.0], 50) == 7
    with pytest.raises(ValueError, match="no 99 % of 0 values"):
        percentile([], 99)


def test_json_is_rounded_to_what_it_is_worth() -> None:
    sample = Sample(1 / 3, {"haproxy": 1 / 3}, 12345.678)
    row = compare("ms", [(sample, Sample(2 / 3, {"haproxy": 2 / 3}, 1.0))])
    content = row.as_json()
    assert content["ours"] == 0.3333
    assert content["ours_rate"] == 12350.0
    assert content["rival_parts"] == {"haproxy": 0.6667}
    assert round_significant(0) == 0
