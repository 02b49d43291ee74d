from __future__ import annotations

from benchmarks.proxy import ROWS, in_turn


def test_no_chain_has_a_better_place_than_another() -> None:
    rounds = [in_turn("abc", turn) for turn in range(6)]
    for place in range(3):
        assert sorted(order[place] for order in rounds) == list("aabbcc")
    assert {(one, other) for order in rounds for one, other in zip(order, order[1:])} == {
        (one, other) for one in "abc" for other in "abc" if one != other
    }
    assert [in_turn("ab", turn) for turn in range(2)] == [["a", "b"], ["b", "a"]]


def test_each_comparison_has_a_key_of_its_own() -> None:
    keys = [key for row in ROWS for key, _ in row.comparisons()]
    assert len(keys) == len(set(keys)) == sum(len(row.chains) - 1 for row in ROWS)
    assert {"small_request", "small_request_go", "two_workers"} <= set(keys)
