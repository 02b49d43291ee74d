from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    kill_everywhere,
    refused,
    run_module,
)

LOSSES = ["lost after", "truncated", "lost before", "api_error", "overloaded_error"]


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state" / "default"


@pytest.fixture
def options(api, state):
    return {"path": str(state), "provisioning": "wif", **api.options()}


@pytest.fixture
def tunnel(api, state):
    run_module("tunnel", path=str(state), **api.options(), display_name="production")
    api.calls.clear()
    return api.tunnels[0]


def contents(state):
    return {name: (state / name).read_text() for name in sorted(os.listdir(state))}


def whole(api, tunnel, version=None):
    files = {
        "tunnel-domain": tunnel["domain"],
        "tunnel-id": tunnel["id"],
        "tunnel-token": api.tokens[tunnel["id"]],
    }
    return {**files, "token-version": version} if version else files


def test_the_token_is_fetched_once(api, state, options, tunnel):
    predicted = run_module("tunnel_token", check=True, **options)
    assert predicted.changed
    assert not (state / "tunnel-token").exists()
    api.calls.clear()
    result = run_module("tunnel_token", **options).result
    assert api.calls == ["exchange", "reveal"]
    assert result["changed"]
    assert not result["rotated"]
    assert not result["repaired"]
    assert (result["tunnel_id"], result["domain"]) == (tunnel["id"], tunnel["domain"])
    assert result["token_file"] == str(state / "tunnel-token")
    assert contents(state) == whole(api, tunnel)
    for entry in os.scandir(state):
        assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    again = ensured("tunnel_token", **options)
    assert not again["changed"]
    assert again["diff"]["before"] == again["diff"]["after"]


def test_a_changed_version_rotates_once(api, state, options, tunnel):
    # The first token is new, whatever its version.
    first = ensured("tunnel_token", **options, token_version="1")
    assert first["changed"]
    assert not first["rotated"]
    before = api.tokens[tunnel["id"]]
    assert not ensured("tunnel_token", **options, token_version="1")["changed"]
    # Without a value, the option asks for nothing.
    assert not ensured("tunnel_token", **options)["changed"]
    assert api.reasons == []

    result = ensured("tunnel_token", **options, token_version="2", rotate_reason="quarterly")
    assert result["changed"]
    assert result["rotated"]
    assert result["rotate_reason"] == "quarterly"
    assert result["diff"]["after"] == {"token": "rotated", "token_version": "2"}
    assert api.reasons == ["quarterly"]
    assert api.tokens[tunnel["id"]] != before
    assert contents(state) == whole(api, tunnel, "2")
    assert not ensured("tunnel_token", **options, token_version="2")["changed"]

    ensured("tunnel_token", **options, token_version="1")
    assert api.reasons == ["quarterly", "token_version 2 -> 1"]


def test_a_version_that_comes_later_rotates(api, state, options, tunnel):
    ensured("tunnel_token", **options)
    assert ensured("tunnel_token", **options, token_version="1")["rotated"]
    assert contents(state) == whole(api, tunnel, "1")


def test_a_token_that_was_rotated_elsewhere(api, state, options, tunnel):
    ensured("tunnel_token", **options, token_version="1")
    api.renew_token(tunnel["id"])
    result = ensured("tunnel_token", **options, token_version="1")
    assert result["changed"]
    assert result["repaired"]
    assert not result["rotated"]
    assert result["diff"]["after"]["token"] == "replaced"
    assert api.reasons == []
    assert contents(state) == whole(api, tunnel, "1")
    assert not ensured("tunnel_token", **options, token_version="1")["changed"]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_answer_to_rotate(api, state, options, tunnel, loss):
    ensured("tunnel_token", **options, token_version="1")
    api.faults["rotate"] = [loss]
    outcome = run_module("tunnel_token", **options, token_version="2")
    assert not outcome.failed, outcome.message
    assert outcome.result["rotated"]
    assert len(api.reasons) == 1
    assert contents(state) == whole(api, tunnel, "2")
    assert not ensured("tunnel_token", **options, token_version="2")["changed"]


@pytest.mark.parametrize("loss", ["late", "very late"])
def test_a_rotation_that_is_late(api, state, options, tunnel, loss):
    """The repeated request takes effect as well: the last token is the valid one."""
    ensured("tunnel_token", **options, token_version="1")
    api.faults["rotate"] = [loss]
    outcome = run_module("tunnel_token", **options, token_version="2")
    assert not outcome.failed, outcome.message
    assert len(api.reasons) == 2
    assert contents(state) == whole(api, tunnel, "2")
    assert not ensured("tunnel_token", **options, token_version="2")["changed"]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_that_loses_everything_is_completed_by_the_next(api, state, options, tunnel, loss):
    ensured("tunnel_token", **options, token_version="1")
    api.faults = {"rotate": [loss], "reveal": ["", *["lost before"] * 9]}
    refused("tunnel_token", **options, token_version="2")
    api.faults.clear()
    # A rotation that was begun goes on without the option, too.
    result = ensured("tunnel_token", **options)
    assert result["rotated"]
    assert result["token_version"] == "2"
    assert len(api.reasons) == 1
    assert contents(state) == whole(api, tunnel, "2")
    assert not ensured("tunnel_token", **options, token_version="2")["changed"]


def test_a_version_that_changes_after_a_killed_rotation(api, state, options, tunnel):
    ensured("tunnel_token", **options, token_version="1")
    api.faults = {"rotate": ["lost after"], "reveal": ["", *["lost before"] * 9]}
    refused("tunnel_token", **options, token_version="2")
    api.faults.clear()
    ensured("tunnel_token", **options, token_version="3")
    assert len(api.reasons) == 2
    assert contents(state) == whole(api, tunnel, "3")


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_run_killed_anywhere_is_completed(api, tmp_path, version):
    states = []

    def arguments():
        return {"path": str(states[-1]), "provisioning": "wif", **api.options()}

    def prepare():
        states.append(tmp_path / f"state{len(states)}")
        api.tunnels.clear()
        api.reasons.clear()
        run_module("tunnel", path=str(states[-1]), **api.options())
        if version == "2":
            ensured("tunnel_token", **arguments(), token_version="1")

    def attempt():
        assert not run_module("tunnel_token", **arguments(), token_version=version).failed

    def check(_step):
        for entry in os.scandir(states[-1]):
            assert stat.S_IMODE(entry.stat().st_mode) == 0o600
        ensured("tunnel_token", **arguments(), token_version=version)
        assert len(api.reasons) == (version == "2")
        assert contents(states[-1]) == whole(api, api.tunnels[0], version)
        assert not ensured("tunnel_token", **arguments(), token_version=version)["changed"]

    assert kill_everywhere(prepare, attempt, check) > 8


def test_what_does_not_fit_is_refused(api, state, options, tunnel):
    elsewhere = {**options, "path": str(state.parent / "other")}
    assert "tunnel-id: does not exist" in refused("tunnel_token", **elsewhere)
    predicted = run_module("tunnel_token", check=True, **elsewhere)
    assert predicted.changed
    cases = [
        ({"tunnel_id": "tnl_other"}, f"tunnel_id: is tnl_other, but {state}/tunnel-id says"),
        ({"domain": "other.example"}, "domain: is other.example, but"),
        ({"token": "x"}, "token: means nothing with provisioning=wif"),
        ({"replace": True}, "replace: means nothing with provisioning=wif"),
    ]
    for given, problem in cases:
        for check in (True, False):
            assert problem in refused("tunnel_token", check=check, **options, **given)
    message = refused("tunnel_token", path=str(state), token_version="2")
    assert "token_version: means nothing with provisioning=manual" in message
    assert api.calls == []


def test_an_archived_tunnel_of_the_stored_id(api, options, tunnel):
    api.tunnels.clear()
    message = refused("tunnel_token", **options)
    assert f"revealing the token of the tunnel {tunnel['id']}" in message
    assert "404 not_found_error" in message
    assert "request-id req_" in message


def test_no_secret_comes_out(api, options, tunnel):
    outcomes = [
        run_module("tunnel_token", check=check, **options, token_version=version)
        for version in ("1", "2")
        for check in (True, False)
    ]
    for outcome in outcomes:
        assert not outcome.failed
        for secret in (api.jwt, api.tokens[tunnel["id"]], "sk-ant-oat01-"):
            assert secret not in outcome.everything
