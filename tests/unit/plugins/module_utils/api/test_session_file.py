from __future__ import annotations

import json
import os
import stat
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.federation import AccessToken
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.session_file import SessionFile
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.jwts import make_jwt
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    refused,
    run_module,
)

PURPOSE = {"api_url": "https://api.example"}


@pytest.fixture
def path(monkeypatch):
    """A file below /run, or where a test may not write there, below what stands for it."""
    if os.access("/run", os.W_OK):
        with tempfile.TemporaryDirectory(prefix="mcp-tunnel-test-", dir="/run") as directory:
            yield Path(directory) / "session" / "default"
        return
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setattr(f"{SessionFile.__module__}._BELOW", f"{directory}/")
        yield Path(directory) / "session" / "default"


def token(**lifetime):
    return AccessToken("sk-ant-oat01-x", datetime.now(timezone.utc) + timedelta(**lifetime))


def test_a_token_is_kept_for_its_purpose_only(path):
    session = SessionFile(str(path), PURPOSE)
    assert session.read() is None
    session.write(token(hours=1))
    assert session.read().value == "sk-ant-oat01-x"
    assert SessionFile(str(path), PURPOSE).read().value == "sk-ant-oat01-x"
    assert SessionFile(str(path), {**PURPOSE, "workspace_id": "default"}).read() is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "api.example" not in path.read_text()


def test_a_token_that_ends_is_not_used(path):
    session = SessionFile(str(path), PURPOSE)
    session.write(token(seconds=30))
    assert session.read()
    session.write(token(seconds=5))
    assert session.read() is None


def test_what_is_not_ours_is_not_used(path):
    session = SessionFile(str(path), PURPOSE)
    session.write(token(hours=1))
    good = path.read_text()
    path.chmod(0o644)
    assert session.read() is None
    path.chmod(0o600)
    for damaged in ("", "{}", "[]", good[:-5], json.dumps({**json.loads(good), "expires_at": "x"})):
        path.write_text(damaged)
        assert session.read() is None
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))
    assert session.read() is None
    session.write(token(hours=1))
    assert not path.is_symlink()


@pytest.mark.parametrize("place", ["/tmp/session", "/run/../tmp/session", "/running/session"])
def test_places_on_disk_are_refused(place):
    with pytest.raises(TunnelError, match=r"session_file: .* is not below /run/"):
        SessionFile(place, PURPOSE)


def test_a_directory_that_others_can_write_to_is_refused(path):
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(TunnelError, match="is not a directory that only root can write to"):
        SessionFile(str(path), PURPOSE)


@pytest.fixture
def lockstep(monkeypatch, path):
    """Let another instance make anything just before we make the session's directory."""
    make = os.mkdir

    def install(other):
        def mkdir(name, mode=0o777, **options):
            if str(name) == str(path.parent):
                other(make)
            make(name, mode, **options)

        monkeypatch.setattr(os, "mkdir", mkdir)

    return install


def test_two_instances_in_lockstep(path, lockstep):
    lockstep(lambda make: make(path.parent, 0o700))
    session = SessionFile(str(path), PURPOSE)
    session.write(token(hours=1))
    assert session.read().value == "sk-ant-oat01-x"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("what", ["open to all", "a link", "a file"])
def test_what_somebody_else_has_made_meanwhile_is_refused(path, lockstep, tmp_path, what):
    def other(make):
        if what == "a link":
            path.parent.symlink_to(tmp_path)
        elif what == "a file":
            path.parent.touch()
        else:
            make(path.parent)
            path.parent.chmod(0o777)

    lockstep(other)
    session = SessionFile(str(path), PURPOSE)
    with pytest.raises(TunnelError, match="is not a directory that only root can write to"):
        session.write(token(hours=1))
    assert not path.exists()
    assert os.listdir(tmp_path) == []


def test_three_modules_share_one_exchange(api, path, tmp_path):
    state = {"path": str(tmp_path / "state"), **api.options(session_file=str(path))}
    for check in (True, False, False):
        before = len(api.calls)
        run_module("tunnel", check=check, **state, display_name="production")
        if check:
            assert path.exists()
            path.unlink()
            api.calls.clear()
            continue
        run_module("tunnel_ca", **state, provisioning="wif")
        outcome = run_module("tunnel_token", **state, provisioning="wif")
        assert json.loads(path.read_text())["access_token"] not in outcome.everything
        if before == 0:
            first = list(api.calls)
    assert first == ["exchange", "list", "create", "list", "certificates", "add", "reveal"]
    assert api.calls[len(first) :] == ["get", "certificates", "reveal"]
    # Alone, a run without change makes four.
    path.unlink()
    api.calls.clear()
    run_module("tunnel", **state)
    run_module("tunnel_ca", **state, provisioning="wif")
    run_module("tunnel_token", **state, provisioning="wif")
    assert api.calls == ["exchange", "get", "certificates", "reveal"]


def test_a_literal_that_is_fetched_anew_shares_the_exchange(api, path, tmp_path):
    """A lookup gives each task another token."""
    state = {"path": str(tmp_path / "state"), **api.options(session_file=str(path))}
    for number in range(2):
        literal = make_jwt(jti=str(number))
        assert not run_module("tunnel", **{**state, "identity_literal": literal}).failed
    assert api.calls.count("exchange") == 1
    # Another source makes another purpose.
    (tmp_path / "token").write_text(make_jwt())
    others = {"identity_literal": None, "identity_source": "file"}
    others["identity_file"] = str(tmp_path / "token")
    assert not run_module("tunnel", **{**state, **others}).failed
    assert api.calls.count("exchange") == 2


def test_a_revoked_token_is_renewed_once(api, path, tmp_path):
    state = {"path": str(tmp_path / "state"), **api.options(session_file=str(path))}
    run_module("tunnel", **state)
    api.valid.clear()
    api.calls.clear()
    assert not run_module("tunnel", **state).failed
    assert api.calls == ["get", "exchange", "get"]
    # A fresh token that is refused is not exchanged once more.
    path.unlink()
    api.calls.clear()
    api.faults["get"] = ["authentication_error"]
    message = refused("tunnel", **state)
    assert api.calls == ["exchange", "get"]
    assert "exchanged a moment ago and is refused all the same" in message


@pytest.mark.parametrize("lost", ["", "lost after"])
def test_a_renewal_that_fails_does_not_hide_why_it_was_wanted(api, path, tmp_path, lost):
    """Also where an exchange was not answered: that is no word about the call."""
    state = {"path": str(tmp_path / "state"), **api.options(session_file=str(path), api_retries=0)}
    run_module("tunnel", **state)
    api.valid.clear()
    api.calls.clear()
    api.faults["exchange"] = [lost or "authentication_error"]
    message = refused("tunnel", **state)
    assert api.calls == ["get", "exchange"]
    assert message.startswith("tunnel tnl_")
    assert "the API answered 401 authentication_error: invalid bearer token" in message
    assert "with an access token from earlier in this run; a new one cannot be had: " in message
    assert "token exchange: " in message
    assert "whether it took effect" not in message


def test_check_mode_exchanges_once(api, path, tmp_path):
    """A single-use identity token allows no more."""
    state = {"path": str(tmp_path / "state"), **api.options(session_file=str(path))}
    for module in ("tunnel", "tunnel_token", "tunnel_ca"):
        others = {} if module == "tunnel" else {"provisioning": "wif"}
        assert not run_module(module, **state, **others).failed
    path.unlink()
    api.calls.clear()
    for module in ("tunnel", "tunnel_token", "tunnel_ca"):
        others = {} if module == "tunnel" else {"provisioning": "wif"}
        assert not run_module(module, check=True, **state, **others).failed
    assert api.calls == ["exchange", "get", "reveal", "certificates"]


def test_an_access_token_that_ends_meanwhile_is_renewed(api, tmp_path):
    """Its lifetime may be shorter than a task that has to wait."""
    api.lifetime = 0
    state = {"path": str(tmp_path / "state"), **api.options()}
    run_module("tunnel", **state)
    api.calls.clear()
    api.faults["get"] = ["authentication_error"]
    assert not run_module("tunnel", **state).failed
    assert api.calls == ["exchange", "get", "exchange", "get"]
