from __future__ import annotations

import json
import os
import stat
import time
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.jwts import (
    SIGNATURE,
    make_jwt,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    kill_everywhere,
    refused,
    run_module,
    without_library,
)

LOSSES = ["lost after", "truncated", "lost before", "api_error", "overloaded_error"]


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state" / "default"


@pytest.fixture
def options(api, state):
    return {"path": str(state), **api.options()}


def contents(state):
    return {name: (state / name).read_text() for name in sorted(os.listdir(state))}


def test_a_tunnel_is_created_once(api, state, options):
    predicted = run_module("tunnel", check=True, **options, display_name="production")
    assert predicted.changed
    assert predicted.result["created"]
    assert predicted.result["tunnel_id"] == predicted.result["domain"] == ""
    assert api.calls == ["exchange", "list"]
    assert not state.exists()

    api.calls.clear()
    result = run_module("tunnel", **options, display_name="production").result
    assert api.calls == ["exchange", "list", "create", "list"]
    [tunnel] = api.tunnels
    assert result["changed"]
    assert result["created"]
    assert (result["tunnel_id"], result["domain"]) == (tunnel["id"], tunnel["domain"])
    assert result["display_name"] == tunnel["display_name"] == "production"
    assert contents(state) == {"tunnel-domain": tunnel["domain"], "tunnel-id": tunnel["id"]}
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for entry in os.scandir(state):
        assert stat.S_IMODE(entry.stat().st_mode) == 0o600

    api.calls.clear()
    again = run_module("tunnel", **options).result
    assert not again["changed"]
    assert not again["created"]
    assert again["diff"]["before"] == again["diff"]["after"]
    assert api.calls == ["exchange", "get"]


def test_a_tunnel_without_name_gets_a_unique_one(api, options):
    ensured("tunnel", **options)
    assert api.tunnels[0]["display_name"].startswith("mcp-tunnel-")
    assert not ensured("tunnel", **options)["changed"]


def test_attaching_by_id_and_by_name(api, tmp_path):
    tunnel = api.add_tunnel("production")
    api.add_tunnel("staging")
    for name, how in (
        ("id", {"tunnel_id": tunnel["id"]}),
        ("name", {"display_name": "production"}),
    ):
        arguments = {"path": str(tmp_path / name), **api.options(), **how}
        result = ensured("tunnel", **arguments)
        assert result["changed"]
        assert not result["created"]
        assert result["tunnel_id"] == tunnel["id"]
        assert not ensured("tunnel", **arguments)["changed"]
    assert len(api.tunnels) == 2


def test_attaching_by_domain(api, state, options):
    """A directory of mode manual is like this, or an inventory that comes from there."""
    tunnel = api.add_tunnel("production")
    result = ensured("tunnel", **options, domain=tunnel["domain"].upper())
    assert result["tunnel_id"] == tunnel["id"]
    (state / "tunnel-id").unlink()
    assert ensured("tunnel", **options)["tunnel_id"] == tunnel["id"]
    assert len(api.tunnels) == 1


def test_a_second_tunnel_is_not_made(api, state, options):
    tunnel = api.add_tunnel("production")
    other = "zzzz9999.tunnel.example"
    for given, problem in (
        (
            {"domain": other},
            f"domain: no active tunnel in the workspace of these credentials has "
            f"the domain {other}",
        ),
        (
            {"domain": other, "tunnel_id": tunnel["id"]},
            f"domain: is {other}, but that of the tunnel",
        ),
        ({"domain": tunnel["domain"], "display_name": "else"}, "is named 'production'"),
    ):
        for check in (True, False):
            assert problem in refused("tunnel", check=check, **options, **given)
    state.mkdir(parents=True)
    (state / "tunnel-token").write_text("of some tunnel")
    assert "does not say which" in refused("tunnel", **options)
    assert len(api.tunnels) == 1
    assert sorted(os.listdir(state)) == ["tunnel-token"]


def test_what_does_not_fit_is_refused(api, state, options):
    tunnel = api.add_tunnel("production")
    archived = api.add_tunnel("old", archived=True)
    for _number in range(2):
        api.add_tunnel("double")
    doubles = [one["id"] for one in api.tunnels if one["display_name"] == "double"]
    cases = [
        ({"tunnel_id": "tnl_unknown"}, "tunnel tnl_unknown: is unknown to the API"),
        ({"tunnel_id": archived["id"]}, f"tunnel {archived['id']}: was archived at"),
        (
            {"tunnel_id": tunnel["id"], "display_name": "else"},
            f"display_name: is 'else', but the tunnel {tunnel['id']} is named 'production'",
        ),
        ({"display_name": "double"}, "2 active tunnels are named 'double'"),
        ({"display_name": "new", "create": False}, "no active tunnel is named 'new'"),
        ({"create": False}, "tunnel_id: is not given, and none is stored"),
        ({"display_name": "x" * 256}, "display_name: is longer than 255"),
        ({"tunnel_id": "production"}, "tunnel_id: is neither a tunnel ID"),
        (
            {"tunnel_id": "6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c"},
            "tunnel_id: is the UUID that the token carries",
        ),
        (
            {"api_surface": "organizations", "display_name": "new"},
            "api_surface: organizations cannot create tunnels",
        ),
    ]
    for given, problem in cases:
        # Check mode cannot know which values the older surface refuses.
        for check in (False,) if "api_surface" in given else (True, False):
            message = refused("tunnel", check=check, **{**options, **given})
            assert problem in message
            assert "Traceback" not in message
    message = refused("tunnel", **options, display_name="double")
    assert all(identifier in message for identifier in doubles)
    assert "request-id req_" in refused("tunnel", **options, tunnel_id="tnl_unknown")
    assert "create" not in api.calls
    for name in ("tunnel-id", "tunnel-domain"):
        assert not (state / name).exists()


def test_another_tunnel_than_the_stored_one(api, state, options):
    first, second = api.add_tunnel(), api.add_tunnel()
    ensured("tunnel", **options, tunnel_id=first["id"])
    (state / "tunnel-token").write_text("of the first")
    message = refused("tunnel", **options, tunnel_id=second["id"])
    assert f"{state}/tunnel-id says {first['id']}" in message
    result = ensured("tunnel", **options, tunnel_id=second["id"], replace=True)
    assert result["changed"]
    assert contents(state) == {"tunnel-domain": second["domain"], "tunnel-id": second["id"]}


def test_the_limit_of_tunnels_is_named(api, state, options):
    for _number in range(10):
        api.add_tunnel()
    message = refused("tunnel", **options, display_name="eleventh")
    assert "10 tunnels are active, and an organization may have 10" in message
    assert "too many tunnels" in message
    assert not (state / "tunnel-create.json").exists()
    api.tunnels[3]["archived_at"] = "2026-11-01T00:00:00Z"
    assert ensured("tunnel", **options, display_name="eleventh")["created"]


@pytest.mark.parametrize("name", ["production", None])
@pytest.mark.parametrize("loss", ["lost after", "truncated"])
def test_a_lost_answer_to_create(api, state, options, loss, name):
    api.faults["create"] = [loss]
    result = run_module("tunnel", **options, display_name=name).result
    assert result["changed"]
    assert len(api.tunnels) == 1
    assert contents(state) == {
        "tunnel-domain": api.tunnels[0]["domain"],
        "tunnel-id": api.tunnels[0]["id"],
    }
    assert not ensured("tunnel", **options, display_name=name)["changed"]


@pytest.mark.parametrize("name", ["production", None])
@pytest.mark.parametrize("loss", ["lost before", "api_error", "overloaded_error"])
@pytest.mark.parametrize("arrives", [True, False])
def test_a_creation_that_is_not_found_is_not_asked_for_twice(
    api, state, options, pauses, loss, name, arrives
):
    """The request may still take effect, after the last look for it."""
    api.faults["create"] = [loss]
    message = refused("tunnel", **options, display_name=name)
    assert "whether it took effect is not known. Run again: the next run looks first" in message
    assert api.calls.count("create") == 1
    assert api.calls.count("list") == 1 + 3
    assert pauses[-2:] == [1, 3]
    if arrives:
        intent = json.loads((state / "tunnel-create.json").read_text())
        api.add_tunnel(intent["display_name"])
    assert run_module("tunnel", **options, display_name=name).changed
    assert len(api.tunnels) == 1
    assert contents(state) == {
        "tunnel-domain": api.tunnels[0]["domain"],
        "tunnel-id": api.tunnels[0]["id"],
    }
    assert not ensured("tunnel", **options, display_name=name)["changed"]


@pytest.mark.parametrize("name", ["production", None])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_that_loses_everything_is_completed_by_the_next(api, state, options, loss, name):
    """The answer to create is lost, and the API is away when the module looks for the tunnel."""
    api.add_tunnel("before")
    api.faults = {"create": [loss], "list": ["", *["lost before"] * 30]}
    refused("tunnel", **options, display_name=name)
    assert json.loads((state / "tunnel-create.json").read_text())["known"] == [
        api.tunnels[-1]["id"]
    ]
    api.faults.clear()
    assert run_module("tunnel", **options, display_name=name).changed
    assert len(api.tunnels) == 2
    assert (state / "tunnel-id").read_text() == api.tunnels[0]["id"]
    assert sorted(os.listdir(state)) == ["tunnel-domain", "tunnel-id"]
    assert not ensured("tunnel", **options, display_name=name)["changed"]


def test_a_clock_that_is_fast_does_not_hide_what_was_made(api, state, options, monkeypatch):
    """The server does not tell its time, so nobody knows the error of ours."""
    monkeypatch.setattr("http.server.BaseHTTPRequestHandler.date_time_string", lambda _self: "")
    an_hour_ago = (datetime.now(timezone.utc) - timedelta(hours=1)).isoformat()
    monkeypatch.setattr(f"{type(api).__module__}._now", lambda: an_hour_ago)
    api.add_tunnel("production", archived=True)
    api.faults["create"] = ["lost after"]
    result = ensured("tunnel", **options, display_name="production")
    assert result["created"]
    assert result["tunnel_id"] == api.tunnels[0]["id"]
    assert len(api.tunnels) == 2


def test_several_tunnels_that_could_be_ours(api, options):
    api.faults = {"create": ["lost after"], "list": ["", *["lost before"] * 30]}
    refused("tunnel", **options, display_name="production")
    api.faults.clear()
    api.add_tunnel("production")
    message = refused("tunnel", **options, display_name="production")
    assert "were all made since this host asked for one" in message


@pytest.mark.parametrize("why", ["known before", "older than the intent"])
def test_a_tunnel_that_is_not_ours_is_not_taken(api, state, options, why):
    """Somebody gave another tunnel the name that an interrupted run was about to create."""
    other = api.add_tunnel("ours")
    state.mkdir(parents=True)
    intent = {"display_name": "ours", "known": [], "recorded_at": time.time() - 60}
    if why == "known before":
        intent["known"] = [other["id"]]
    else:
        intent["recorded_at"] += 3600
    (state / "tunnel-create.json").write_text(json.dumps(intent))
    result = run_module("tunnel", **options).result
    assert result["created"]
    assert result["tunnel_id"] != other["id"]


@pytest.mark.parametrize("fault", ["api_error", "overloaded_error", "rate_limit_error", *LOSSES])
@pytest.mark.parametrize("call", ["exchange", "list", "get"])
def test_a_passing_fault_is_waited_for(api, options, call, fault):
    tunnel = api.add_tunnel("production")
    api.faults[call] = [fault, fault]
    for _number in range(2):
        result = run_module("tunnel", **options, display_name="production")
        assert not result.failed, result.message
        assert result.result["tunnel_id"] == tunnel["id"]


@pytest.mark.parametrize("name", ["production", None])
def test_a_run_killed_anywhere_is_completed(api, tmp_path, name):
    states = []

    def arguments():
        return {"path": str(states[-1]), **api.options(), "display_name": name}

    def prepare():
        states.append(tmp_path / f"state{len(states)}")
        api.tunnels.clear()

    def attempt():
        assert not run_module("tunnel", **arguments()).failed

    def check(_step):
        state = states[-1]
        for entry in os.scandir(state) if state.exists() else ():
            assert stat.S_IMODE(entry.stat().st_mode) == 0o600
        run_module("tunnel", **arguments())
        [tunnel] = api.tunnels
        assert contents(state) == {"tunnel-domain": tunnel["domain"], "tunnel-id": tunnel["id"]}
        assert not ensured("tunnel", **arguments())["changed"]

    assert kill_everywhere(prepare, attempt, check) > 8


def test_archiving(api, state, options):
    assert "a name is not enough" in refused("tunnel", **options, state="archived")
    other = api.add_tunnel()
    result = run_module("tunnel", **options, display_name="production").result
    message = refused("tunnel", **options, state="archived", tunnel_id=other["id"])
    assert "give both for the same tunnel" in message
    assert "is named 'production'" in refused(
        "tunnel", **options, state="archived", display_name="else"
    )
    gone = ensured("tunnel", **options, state="archived")
    assert gone["changed"]
    assert gone["archived_at"]
    assert [one["id"] for one in api.tunnels if one["archived_at"]] == [result["tunnel_id"]]
    assert not ensured("tunnel", **options, state="archived")["changed"]
    assert "was archived at" in refused("tunnel", **options)


def test_no_secret_comes_out(api, options):
    api.faults = {"list": ["permission_error", "", "authentication_error"]}
    planted = [api.jwt, SIGNATURE, "sk-ant-oat01-"]
    attempts = [{}, {}, {}, {}, {"tunnel_id": api.jwt}, {"display_name": api.jwt}]
    attempts += [{"federation_rule_id": api.jwt}, {"identity_literal": make_jwt() + "="}]
    for attempt in attempts:
        outcome = run_module("tunnel", **{**options, **attempt})
        for secret in planted:
            assert secret not in outcome.everything


def test_a_missing_library(api, options):
    message = without_library("requests", "tunnel", **options)["msg"]
    assert "Python library requests: is not installed for the interpreter" in message
    assert "python3-requests" in message


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_tunnels_of_a_name_at_a_time_one_stays(api, options, state, monkeypatch, is_first):
    """Both runs find no tunnel of that name, and both make one."""
    add = api.add_tunnel

    def add_both(display_name=None, archived=False):
        own, other = add(display_name), add(display_name)
        times = ["2026-11-28T12:00:00Z", "2026-11-28T12:00:01Z"]
        own["created_at"], other["created_at"] = times if is_first else times[::-1]
        return own

    monkeypatch.setattr(api, "add_tunnel", add_both)
    outcome = run_module("tunnel", **options, display_name="production")
    other, own = api.tunnels
    assert not other["archived_at"], "it belongs to the other run"
    if is_first:
        assert not outcome.failed, outcome.message
        assert outcome.result["tunnel_id"] == own["id"]
    else:
        assert f"tunnel {other['id']}: was made with the name 'production'" in outcome.message
        assert own["archived_at"]
        assert not (state / "tunnel-id").exists()
        again = run_module("tunnel", **options, display_name="production")
        assert again.result["tunnel_id"] == other["id"]
