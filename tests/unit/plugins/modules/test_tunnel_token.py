from __future__ import annotations

import base64
import os
import stat

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    kill_everywhere,
    refused,
    run_module,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import (
    OTHER_UUID,
    SECRET,
    UUID,
    make_token,
)

DOMAIN = "abcd1234.tunnel.example"
FILES = ["tunnel-domain", "tunnel-id", "tunnel-token"]


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state" / "default"


def contents(state):
    return {name: (state / name).read_text() for name in os.listdir(state)}


def test_the_first_run_stores_all_and_the_next_needs_nothing(state):
    given = {"token": make_token() + "\n", "tunnel_id": "tnl_01AbC", "domain": DOMAIN.upper()}
    result = ensured("tunnel_token", path=str(state), **given)
    assert (result["changed"], result["already_stored"]) == (True, False)
    assert result["tunnel_uuid"] == UUID
    assert contents(state) == {
        "tunnel-token": make_token(),
        "tunnel-id": "tnl_01AbC",
        "tunnel-domain": DOMAIN,
    }
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for name in FILES:
        assert stat.S_IMODE((state / name).stat().st_mode) == 0o600

    for again in (given, {}):
        result = ensured("tunnel_token", path=str(state), **again)
        assert (result["changed"], result["already_stored"]) == (False, True)
        assert result["diff"]["before"] == result["diff"]["after"]
        assert (result["tunnel_uuid"], result["tunnel_id"]) == (UUID, "tnl_01AbC")
        assert result["domain"] == DOMAIN
        assert result["token_file"] == str(state / "tunnel-token")


def test_the_id_is_optional_and_empty_values_are_no_values(state):
    empty = {"tunnel_id": "", "token": "", "domain": ""}
    ensured("tunnel_token", path=str(state), token=make_token(), domain=DOMAIN)
    assert sorted(os.listdir(state)) == ["tunnel-domain", "tunnel-token"]
    result = ensured("tunnel_token", path=str(state), **empty)
    assert not result["changed"]
    assert result["tunnel_id"] == ""


def test_what_is_missing_is_named(state):
    for check in (True, False):
        message = refused("tunnel_token", check=check, path=str(state), domain=DOMAIN)
        assert "token: is not given and" in message
        assert "mcp_tunnel_token" in message
        message = refused("tunnel_token", check=check, path=str(state), token=make_token())
        assert "domain: is not given" in message
        assert "mcp_tunnel_domain" in message
    assert not state.exists()


def test_a_rotated_token_of_the_same_tunnel_replaces_the_stored_one(state):
    ensured("tunnel_token", path=str(state), token=make_token(), domain=DOMAIN)
    rotated = make_token(secret=b"another secret")
    result = ensured("tunnel_token", path=str(state), token=rotated)
    assert result["changed"]
    assert result["diff"]["after"]["token"] == "replaced"
    assert (state / "tunnel-token").read_text() == rotated


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"token": make_token(OTHER_UUID)}, f"token: belongs to the tunnel {OTHER_UUID}, but"),
        ({"domain": "other.tunnel.example"}, "domain: is other.tunnel.example, but"),
        ({"tunnel_id": "tnl_other"}, "tunnel_id: is tnl_other, but"),
    ],
)
def test_another_tunnel_is_refused(state, given, problem):
    first = {"token": make_token(), "tunnel_id": "tnl_01AbC", "domain": DOMAIN}
    ensured("tunnel_token", path=str(state), **first)
    before = contents(state)
    for check in (True, False):
        message = refused("tunnel_token", check=check, path=str(state), **given)
        assert problem in message
        assert "replace: true" in message
    assert contents(state) == before


def test_moving_to_another_tunnel(state):
    first = {"token": make_token(), "tunnel_id": "tnl_01AbC", "domain": DOMAIN}
    ensured("tunnel_token", path=str(state), **first)
    other = {"path": str(state), "token": make_token(OTHER_UUID), "replace": True}
    # The old tunnel's domain would be wrong for the new one.
    assert "domain: is not given, and none is stored for this tunnel" in refused(
        "tunnel_token", **other
    )
    result = ensured("tunnel_token", **other, domain="other.tunnel.example")
    assert result["tunnel_uuid"] == OTHER_UUID
    assert result["tunnel_id"] == ""
    assert sorted(os.listdir(state)) == ["tunnel-domain", "tunnel-token"]
    assert not ensured("tunnel_token", **other, domain="other.tunnel.example")["changed"]


def test_an_id_that_contradicts_the_token(state):
    arguments = {"path": str(state), "token": make_token(), "domain": DOMAIN}
    assert f"is {OTHER_UUID}, but the token belongs to the tunnel {UUID}" in refused(
        "tunnel_token", **arguments, tunnel_id=OTHER_UUID, replace=True
    )
    assert ensured("tunnel_token", **arguments, tunnel_id=UUID)["tunnel_id"] == UUID


def test_a_damaged_stored_token(state):
    ensured("tunnel_token", path=str(state), token=make_token(), domain=DOMAIN)
    (state / "tunnel-token").write_text("damaged")
    message = refused("tunnel_token", path=str(state))
    assert f"{state}/tunnel-token: is not base64" in message
    assert ensured("tunnel_token", path=str(state), token=make_token())["changed"]


def test_permissions_are_repaired(state):
    ensured("tunnel_token", path=str(state), token=make_token(), domain=DOMAIN)
    (state / "tunnel-token").chmod(0o644)
    assert ensured("tunnel_token", path=str(state))["changed"]
    assert stat.S_IMODE((state / "tunnel-token").stat().st_mode) == 0o600
    assert not ensured("tunnel_token", path=str(state))["changed"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"token": "x"}, "token: is not base64-encoded JSON"),
        ({"tunnel_id": "tunnel"}, "tunnel_id: is neither"),
        ({"domain": "https://x.example"}, "domain: is not a domain name"),
    ],
)
def test_bad_options(state, given, problem):
    arguments = {"path": str(state), "token": make_token(), "domain": DOMAIN, **given}
    for check in (True, False):
        assert problem in refused("tunnel_token", check=check, **arguments)
    assert not state.exists()


def test_no_secret_comes_out(state):
    token = make_token()
    rotated = make_token(secret=SECRET[::-1])
    attempts = [
        {"token": token, "domain": DOMAIN},
        {"token": rotated},
        {"token": make_token(OTHER_UUID)},
        {"token": token[:-1]},
        {"token": "cloudflared service install " + token},
        {"tunnel_id": token},
        {"domain": token},
    ]
    planted = [token, rotated, token[:-1], SECRET.decode(), base64.b64encode(SECRET).decode()]
    for check in (True, False):
        for attempt in attempts:
            outcome = run_module("tunnel_token", check=check, path=str(state), **attempt)
            for secret in planted:
                assert secret not in outcome.everything


@pytest.mark.parametrize("before", ["nothing", "another tunnel"])
def test_a_run_killed_anywhere_is_completed(tmp_path, before):
    states = []
    wanted = {"token": make_token(), "domain": DOMAIN, "tunnel_id": "tnl_01AbC", "replace": True}
    old = {"token": make_token(OTHER_UUID), "domain": "o.example", "tunnel_id": OTHER_UUID}
    whole = {
        "tunnel-token": {wanted["token"], old["token"]},
        "tunnel-domain": {wanted["domain"], old["domain"]},
        "tunnel-id": {wanted["tunnel_id"], old["tunnel_id"]},
    }

    def prepare():
        states.append(tmp_path / f"state{len(states)}")
        if before != "nothing":
            ensured("tunnel_token", path=str(states[-1]), **old)

    def attempt():
        assert not run_module("tunnel_token", path=str(states[-1]), **wanted).failed

    def check(_step):
        state = states[-1]
        for entry in os.scandir(state) if state.exists() else ():
            assert stat.S_IMODE(entry.stat().st_mode) == 0o600
            if entry.name in whole:
                assert (state / entry.name).read_text() in whole[entry.name]
        ensured("tunnel_token", path=str(state), **wanted)
        assert sorted(os.listdir(state)) == FILES
        assert not ensured("tunnel_token", path=str(state), **wanted)["changed"]

    assert kill_everywhere(prepare, attempt, check) > 8
