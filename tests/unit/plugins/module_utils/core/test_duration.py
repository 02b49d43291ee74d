from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.duration import parse_duration
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("720h", timedelta(days=30)),
        ("30d", timedelta(days=30)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("90s", timedelta(seconds=90)),
        ("1500ms", timedelta(seconds=1.5)),
        (" 2160h ", timedelta(days=90)),
    ],
)
def test_durations(text, duration):
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "720",
        "h",
        "-1h",
        "1h 30m",
        "30D",
        "1d12h",
        "0s",
        "0d",
        "101d1",
        "40000d",
        "1e5h",
        "٣h",
        "9" * 400 + "h",
    ],
)
def test_refused(text):
    with pytest.raises(TunnelError, match=r"renew_before: .*is not a duration.* Write hours"):
        parse_duration(text, "renew_before")


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_refused(text):
    with contextlib.suppress(TunnelError):
        assert parse_duration(text) > timedelta(0)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_parts_add_up(hours, minutes, seconds):
    wanted = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == wanted
