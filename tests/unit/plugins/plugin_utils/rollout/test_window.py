"""When a run may change something: days, midnight, and days on which the clocks change."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import plan
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout import window
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good

NIGHTS = "Mon-Fri 22:00-04:00 Europe/Berlin"


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "moment", "is_open"),
    [
        # 2026-11-30 is a Monday; Berlin is an hour ahead.
        (NIGHTS, "2026-11-30T20:59:59", False),
        (NIGHTS, "2026-11-30T21:00:00", True),
        (NIGHTS, "2026-12-01T02:59:59", True),
        (NIGHTS, "2026-12-01T03:00:00", False),
        # The night that begins on a Friday ends on Saturday; none begins on Sunday.
        (NIGHTS, "2026-12-05T02:00:00", True),
        (NIGHTS, "2026-12-05T22:00:00", False),
        (NIGHTS, "2026-11-30T01:00:00", False),
        # In summer it is two hours.
        (NIGHTS, "2026-07-01T20:00:00", True),
        ("Sat-Mon 08:00-09:00 UTC", "2026-11-30T08:30:00", True),
        ("Sat-Mon 08:00-09:00 UTC", "2026-12-01T08:30:00", False),
        ("tue 00:00-24:00 utc", "2026-12-01T23:59:59", True),
        ("Tue 22:00-24:00 UTC", "2026-12-02T00:00:00", False),
        ("Tue 08:00-09:00 UTC, Mon 08:00-09:00 Asia/Tokyo", "2026-11-29T23:10:00", True),
        # On 2026-03-29 no clock of Berlin shows 02:30, on 2026-10-25 each does twice.
        ("Sun 02:15-02:45 Europe/Berlin", "2026-03-29T01:30:00", False),
        ("Sun 02:15-02:45 Europe/Berlin", "2026-03-29T00:30:00", False),
        ("Sun 02:15-02:45 Europe/Berlin", "2026-10-25T00:30:00", True),
        ("Sun 02:15-02:45 Europe/Berlin", "2026-10-25T01:30:00", True),
        ("Sun 02:15-02:45 Europe/Berlin", "2026-10-25T01:00:00", False),
        # The night of the change is an hour shorter, and none of it is lost.
        ("Sat 22:00-04:00 Europe/Berlin", "2026-03-29T01:59:00", True),
        ("Sat 22:00-04:00 Europe/Berlin", "2026-03-29T02:00:00", False),
    ],
)
def test_a_moment(text, moment, is_open):
    assert window.parse(text).is_open(utc(moment)) is is_open
    assert bool(window.closed(text, utc(moment).timestamp())) is not is_open


@pytest.mark.parametrize(
    ("text", "moment", "opens"),
    [
        (NIGHTS, "2026-11-30T12:00:30", "Monday, 2026-11-30 at 22:00 CET"),
        (NIGHTS, "2026-12-05T12:00:00", "Monday, 2026-12-07 at 22:00 CET"),
        (
            "Sun 02:15-02:45 Europe/Berlin",
            "2026-03-28T12:00:00",
            "Sunday, 2026-04-05 at 02:15 CEST",
        ),
        ("Tue 08:00-09:00 UTC,Mon 07:00-08:00 UTC", "2026-12-01T10:00:00", "Monday, 2026-12-07 at"),
    ],
)
def test_it_says_when_it_opens_next(text, moment, opens):
    told = window.closed(text, utc(moment).timestamp())
    assert told.startswith(f"mcp_tunnel_window ({text}) is closed, and opens on {opens}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Mon 22:00-22:00 UTC", "never opens: Mon 22:00-22:00 UTC"),
        ("Mon 24:00-04:00 UTC", "never opens: Mon 24:00-04:00 UTC"),
        ("Mon 22:00-04:00", "'Mon 22:00-04:00' is no time of the week"),
        ("22:00-04:00 UTC", "'22:00-04:00 UTC' is no time of the week"),
        ("Mon-Fri 22-04 UTC", "'Mon-Fri 22-04 UTC' is no time of the week"),
        ("Mon 1:00-2:00 UTC", "'Mon 1:00-2:00 UTC' is no time of the week"),
        ("Mon 22:00-04:00 UTC,", "'' is no time of the week"),
        ("never", "'never' is no time of the week"),
        ("Mox 22:00-04:00 UTC", "'Mox' is no day"),
        ("Mon 22:00-25:00 UTC", "'25:00' is no time of the day"),
        ("Mon 22:60-23:00 UTC", "'22:60' is no time of the day"),
        ("Mon 22:00-23:00 Europe/Bonn", "'Europe/Bonn' is no time zone that this controller knows"),
        ("Mon 22:00-23:00 Europe", "'Europe' is no time zone that this controller knows"),
        ("Mon 22:00-23:00 /etc/passwd", "'/etc/passwd' is no time zone that this controller knows"),
        ("Mon 22:00-23:00\nUTC", "has a line break"),
        ("x" * 2000, "is longer than 1000 characters"),
        (["Mon 22:00-23:00 UTC"], "must be a text, is a list of 1"),
        (5, "must be a text, is a number"),
    ],
)
def test_a_window_that_is_none(text, problem):
    (found,) = plan.check_values(good(mcp_tunnel_window=text))
    assert str(found).startswith(f"mcp_tunnel_window: {problem}")


def test_no_window_is_always_open():
    assert plan.check_values(good()) == []
    assert plan.make_plan(good(), ["a"], "a", at=0.0)["closed"] == ""


@pytest.mark.parametrize(
    ("duty", "is_closed"),
    [
        *((duty, True) for duty in ("deploy", "reboot", "rotate_ca", "rotate_token")),
        # These cannot wait, change nothing of a service, or are typed for this very moment.
        *((duty, False) for duty in ("renew_cert", "recover", "verify", "drain", "teardown")),
    ],
)
def test_duties_that_go_by_it(duty, is_closed):
    variables = good(mcp_tunnel_window=NIGHTS)
    noon = utc("2026-11-30T12:00:00").timestamp()
    made = plan.make_plan(variables, ["a"], "a", duty, at=noon)
    assert made["closed"].startswith("mcp_tunnel_window") is is_closed
