from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.config import durations

UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("30s", 30.0),
        ("1m30s", 90.0),
        ("2160h", 7_776_000.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("250ms", 0.25),
        ("10us", 1e-5),
        ("10µs", 1e-5),
        ("7ns", 7e-9),
    ],
)
def test_go_durations(text: str, seconds: float) -> None:
    assert durations.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "-1s",
        "+1s",
        "s",
        "1",
        "1d",
        "1 s",
        "1s ",
        "1s1",
        "1S",
        ".s",
        "1..5s",
        "1e3s",
        "1_0s",
        "٣s",
        "1s\n",
        "99999999999h",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        durations.parse(text)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(sorted(UNITS))), min_size=1))
def test_terms_add_up(terms: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in terms)
    assert durations.parse(text) == pytest.approx(sum(n * UNITS[unit] for n, unit in terms))


@given(st.text())
def test_any_text_gives_seconds_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert durations.parse(text) >= 0
