"""Effects of converging, and its calls to the API. Comes first, because it reads the log."""

from __future__ import annotations

import base64
import json
from itertools import pairwise

import pytest
from deployed import a_call_is_answered, fingerprint, stored
from replicas import HOSTS, LAB_NAME, RUN, TOGETHER, lab, play, recap, shell
from tunnels_api import FIRST_CALLS, NEXT_CALLS, active, asked, status


def runs() -> list[list[str]]:
    """Return the names of the calls of each run so far: a run begins with an exchange."""
    calls = [call["call"] for call in asked()]
    begins = [number for number, name in enumerate(calls) if name == "exchange"]
    return [calls[begin:end] for begin, end in pairwise([*begins, len(calls)])]


def test_each_run_asks_only_what_it_needs() -> None:
    assert runs()[:2] == [FIRST_CALLS, NEXT_CALLS]


def test_one_tunnel_was_made_and_the_state_host_has_what_the_api_has() -> None:
    made = [each for each in status()["tunnels"] if each["display_name"] == "laboratory"]
    assert [each["id"] for each in made] == [stored("tunnel-id")]
    assert made[0]["domain"] == stored("tunnel-domain")
    assert active(made[0]) == [fingerprint(stored("ca.crt"))]
    state = json.loads((RUN / "api" / "state.json").read_text())
    secret = next(each for each in state["tunnels"] if each["id"] == made[0]["id"])["secret"]
    assert json.loads(base64.b64decode(stored("tunnel-token")))["s"] == secret


def test_a_tool_is_called_through_the_new_tunnel() -> None:
    a_call_is_answered("from nothing")


@pytest.mark.parametrize("name", HOSTS)
def test_no_access_token_stays(name: str) -> None:
    assert shell(name).check_output("ls /run/mcp-tunnel-provision 2>/dev/null || true") == ""


def test_a_token_that_was_rotated_elsewhere_is_noticed_and_repaired() -> None:
    lab("api", LAB_NAME, "rotate", stored("tunnel-id"))
    before = stored("tunnel-token")
    done = play(*TOGETHER, "--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    assert stored("tunnel-token") != before
    a_call_is_answered("repaired")


@pytest.mark.exhaustive  # test_limits.py counts the calls of such a run, too
@pytest.mark.parametrize("name", HOSTS)
def test_a_run_on_one_host_asks_as_often(name: str) -> None:
    """After the repair, it has nothing to do, either."""
    before = len(asked())
    done = play("--limit", name)
    assert done.returncode == 0, done.stdout[-3000:]
    assert recap(done.stdout)[name]["changed"] == 0
    assert [call["call"] for call in asked(before)] == runs()[1]
