from __future__ import annotations

import copy
import os
import shutil
import stat

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    kill_everywhere,
    refused,
    run_module,
)

LOSSES = ["lost after", "truncated", "lost before", "api_error", "overloaded_error"]
PREVIOUS = ["ca-previous.crt", "ca-previous.key"]
KEPT = ["ca.crt", "ca.key", "tunnel-domain", "tunnel-id"]


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state" / "default"


@pytest.fixture
def options(api, state):
    return {"path": str(state), "provisioning": "wif", **api.options()}


@pytest.fixture
def tunnel(api, state):
    run_module("tunnel", path=str(state), **api.options())
    api.calls.clear()
    return api.tunnels[0]


def begun(api, state):
    """Return what puts the API, and a copy of the directory, back to what they are now."""
    tunnels, certificates = copy.deepcopy((api.tunnels, api.certificates))

    def put_back(place):
        api.tunnels[:], api.certificates[:] = copy.deepcopy((tunnels, certificates))
        shutil.copytree(state, place)

    return put_back


def fingerprints(api, tunnel):
    return [one["fingerprint"] for one in api.active(tunnel["id"])]


def test_a_ca_is_made_and_registered_once(api, state, options, tunnel):
    predicted = run_module("tunnel_ca", check=True, **options)
    assert predicted.changed
    assert sorted(os.listdir(state)) == ["tunnel-domain", "tunnel-id"]
    api.calls.clear()
    result = run_module("tunnel_ca", **options).result
    assert api.calls == ["exchange", "certificates", "add"]
    assert result["changed"]
    assert fingerprints(api, tunnel) == [result["fingerprint"]]
    assert result["certificate_id"] == api.certificates[0]["id"]
    assert result["tunnel_id"] == tunnel["id"]
    assert result["certificate_id"] in result["registration"]
    assert [one["id"] for one in result["active"]] == [result["certificate_id"]]
    assert not result["rotating"]
    assert sorted(os.listdir(state)) == KEPT
    api.calls.clear()
    again = run_module("tunnel_ca", **options).result
    assert api.calls == ["exchange", "certificates"]
    assert not again["changed"]
    assert again["diff"]["before"] == again["diff"]["after"]
    assert not ensured("tunnel_ca", **options)["changed"]


def test_before_there_is_a_tunnel(options):
    assert run_module("tunnel_ca", check=True, **options).changed
    assert "tunnel-id: does not exist" in refused("tunnel_ca", **options)


def test_a_ca_that_is_registered_already_is_adopted(api, state, options, tunnel, openssl_ca):
    api.add_certificate(tunnel["id"], openssl_ca[0])
    brought = {"certificate": openssl_ca[0], "private_key": openssl_ca[1]}
    result = ensured("tunnel_ca", **options, **brought)
    assert result["changed"]  # the CA was stored
    assert len(api.certificates) == 1
    assert not ensured("tunnel_ca", **options, **brought)["changed"]


def archive(api, fingerprint, at="2026-11-01T00:00:00Z"):
    """Somebody archives a CA in the Console."""
    for one in api.certificates:
        if one["fingerprint"] == fingerprint:
            one["archived_at"] = at


def contents(state):
    return {name: (state / name).read_bytes() for name in sorted(os.listdir(state))}


def test_a_ca_that_was_archived_is_not_registered_again(api, state, options, tunnel):
    result = ensured("tunnel_ca", **options)
    archive(api, result["fingerprint"])
    before = contents(state)
    for phase in ("current", "retired"):
        for check in (True, False):
            api.calls.clear()
            message = refused("tunnel_ca", check=check, **options, phase=phase)
            assert message.startswith(f"{state}/ca.crt: ")
            assert result["fingerprint"] in message
            assert "was archived at 2026-11-01T00:00:00Z" in message
            assert "rotate_ca.yml" in message
            assert "phase=added" in message
            assert api.calls == ["exchange", "certificates"]
    assert contents(state) == before
    # Only registered CAs count, however often one was archived before.
    api.add_certificate(tunnel["id"], result["certificate"])
    assert not ensured("tunnel_ca", **options)["changed"]


def test_a_ca_that_was_archived_is_replaced_by_a_new_one(api, state, options, tunnel):
    old = ensured("tunnel_ca", **options)
    archive(api, old["fingerprint"])
    assert run_module("tunnel_ca", check=True, **options, phase="added").changed
    new = ensured("tunnel_ca", **options, phase="added")
    assert fingerprints(api, tunnel) == [new["fingerprint"]]
    assert (state / "ca-previous.crt").read_text() == old["certificate"]
    assert not ensured("tunnel_ca", **options)["changed"]
    assert ensured("tunnel_ca", **options, phase="retired")["changed"]
    assert "archive_certificate" not in api.calls
    assert sorted(os.listdir(state)) == KEPT
    assert len(api.certificates) == 2


def test_a_new_ca_that_was_archived_during_its_rotation(api, state, options, tunnel):
    """The previous CA is still the one to archive at the end."""
    first = ensured("tunnel_ca", **options)
    second = ensured("tunnel_ca", **options, phase="added")
    archive(api, second["fingerprint"])
    assert "phase=added" in refused("tunnel_ca", **options, phase="retired")
    third = ensured("tunnel_ca", **options, phase="added")
    assert fingerprints(api, tunnel) == [third["fingerprint"], first["fingerprint"]]
    assert (state / "ca-previous.crt").read_text() == first["certificate"]
    assert not ensured("tunnel_ca", **options, phase="added")["changed"]
    ensured("tunnel_ca", **options, phase="retired")
    assert fingerprints(api, tunnel) == [third["fingerprint"]]
    assert sorted(os.listdir(state)) == KEPT


def test_a_next_ca_that_was_archived_is_not_registered_again(api, state, options, tunnel):
    """A rotation was interrupted before the new CA took its place."""
    ensured("tunnel_ca", **options)
    other = state.parent / "other"
    ca = ensured("tunnel_ca", path=str(other))
    for suffix in ("crt", "key"):
        (state / f"ca-next.{suffix}").write_bytes((other / f"ca.{suffix}").read_bytes())
        (state / f"ca-next.{suffix}").chmod(0o600)
    api.add_certificate(tunnel["id"], ca["certificate"])
    archive(api, ca["fingerprint"])
    before = contents(state)
    message = refused("tunnel_ca", **options, phase="added")
    assert message.startswith(f"{state}/ca-next.crt: ")
    assert f"remove {state}/ca-next.key and {state}/ca-next.crt" in message
    assert contents(state) == before
    assert "add" not in api.calls[-2:]


def test_a_brought_ca_that_was_archived_is_not_registered_again(
    api, state, options, tunnel, openssl_ca
):
    brought = {"certificate": openssl_ca[0], "private_key": openssl_ca[1]}
    api.add_certificate(tunnel["id"], openssl_ca[0])
    archive(api, api.certificates[0]["fingerprint"])
    message = refused("tunnel_ca", **options, **brought)
    assert message.startswith("certificate: ")
    assert "bring another CA" in message
    assert sorted(os.listdir(state)) == ["tunnel-domain", "tunnel-id"]
    ensured("tunnel_ca", **options)
    for phase, regenerate in (("added", "never"), ("current", "always")):
        message = refused("tunnel_ca", **options, **brought, phase=phase, regenerate=regenerate)
        assert message.startswith("certificate: ")
    # An archived CA does not prevent a new one.
    archive(api, ensured("tunnel_ca", **options)["fingerprint"])
    assert ensured("tunnel_ca", **options, regenerate="always")["changed"]


def test_full_slots_are_refused_before_anything_is_made(api, state, options, tunnel, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        api.add_certificate(tunnel["id"], openssl.make_ca(tmp_path / name)[0])
    api.certificates[0]["created_at"] = "2026-01-01T00:00:00.123456789Z"
    for check in (True, False):
        message = refused("tunnel_ca", check=check, **options)
        for certificate in api.certificates:
            assert certificate["id"] in message
            assert certificate["fingerprint"] in message
        assert "0 days old" in message
        assert "not from this state directory" in message
        assert "Archive the one that no replica uses" in message
    assert sorted(os.listdir(state)) == ["tunnel-domain", "tunnel-id"]
    api.certificates[0]["archived_at"] = "2026-11-01T00:00:00Z"
    assert ensured("tunnel_ca", **options)["changed"]


@pytest.mark.parametrize("loss", [*LOSSES, "rate_limit_error"])
@pytest.mark.parametrize("phase", ["current", "added"])
def test_a_lost_answer_to_register(api, options, tunnel, loss, phase):
    if phase == "added":
        ensured("tunnel_ca", **options)
    api.faults["add"] = [loss]
    result = run_module("tunnel_ca", **options, phase=phase)
    assert not result.failed, result.message
    assert len(api.certificates) == 1 + (phase == "added")
    assert fingerprints(api, tunnel)[0] == result.result["fingerprint"]
    assert not ensured("tunnel_ca", **options, phase=phase)["changed"]


@pytest.mark.parametrize("duplicates", [True, False])
@pytest.mark.parametrize("loss", ["late", "very late"])
@pytest.mark.parametrize("phase", ["current", "added"])
def test_a_registration_that_is_late(api, options, tunnel, loss, duplicates, phase):
    """The repeated request takes effect as well, which the API may accept."""
    old = []
    if phase == "added":
        old = [ensured("tunnel_ca", **options)["fingerprint"]]
    api.accepts_duplicates = duplicates
    api.faults["add"] = [loss]
    result = run_module("tunnel_ca", **options, phase=phase)
    assert not result.failed, result.message
    assert api.late == []
    assert fingerprints(api, tunnel) == [result.result["fingerprint"], *old]
    assert [one["id"] for one in result.result["active"]] == [
        one["id"] for one in api.active(tunnel["id"])
    ]
    assert not ensured("tunnel_ca", **options, phase=phase)["changed"]


def test_a_registration_that_is_refused_after_a_lost_answer(api, options, tunnel):
    api.faults["add"] = ["lost before", "invalid_request_error"]
    assert "told to fail" in refused("tunnel_ca", **options)
    assert fingerprints(api, tunnel) == []


@pytest.mark.parametrize("phase", ["current", "added", "retired"])
def test_a_registration_that_is_there_twice(api, state, options, tunnel, phase):
    """One stays, so that the other slot is free."""
    api.accepts_duplicates = True
    first = ensured("tunnel_ca", **options)
    api.add_certificate(tunnel["id"], first["certificate"])
    oldest = api.certificates[-1]["id"]
    assert run_module("tunnel_ca", check=True, **options, phase=phase).changed
    assert len(api.active(tunnel["id"])) == 2
    result = ensured("tunnel_ca", **options, phase=phase)
    assert result["changed"]
    assert result["diff"]["before"] != result["diff"]["after"]
    new = [result["fingerprint"]] if phase == "added" else []
    assert fingerprints(api, tunnel) == [*new, first["fingerprint"]]
    assert api.active(tunnel["id"])[-1]["id"] == oldest
    assert not ensured("tunnel_ca", **options, phase=phase)["changed"]


def test_what_is_registered_twice_is_archived_twice(api, state, options, tunnel):
    api.accepts_duplicates = True
    old = ensured("tunnel_ca", **options)
    new = ensured("tunnel_ca", **options, phase="added")
    archive(api, new["fingerprint"])
    api.add_certificate(tunnel["id"], old["certificate"])
    for one in api.certificates:
        if one["fingerprint"] == new["fingerprint"]:
            one["archived_at"] = None
    ensured("tunnel_ca", **options, phase="retired")
    assert fingerprints(api, tunnel) == [new["fingerprint"]]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_that_loses_everything_is_completed_by_the_next(api, options, tunnel, loss):
    api.faults = {"add": [loss], "certificates": ["", *["lost before"] * 9]}
    refused("tunnel_ca", **options)
    api.faults.clear()
    result = run_module("tunnel_ca", **options).result
    assert fingerprints(api, tunnel) == [result["fingerprint"]]
    assert not ensured("tunnel_ca", **options)["changed"]


def test_a_rotation(api, state, options, tunnel):
    old = ensured("tunnel_ca", **options)
    nothing = ensured("tunnel_ca", **options, phase="retired")
    assert not nothing["changed"]

    new = ensured("tunnel_ca", **options, phase="added")
    assert new["changed"]
    assert new["rotating"]
    assert new["fingerprint"] != old["fingerprint"]
    assert fingerprints(api, tunnel) == [new["fingerprint"], old["fingerprint"]]
    assert (state / "ca.crt").read_text() == new["certificate"]
    assert (state / "ca-previous.crt").read_text() == old["certificate"]
    assert openssl.public_key_of_certificate(new["certificate"]) == openssl.public_key_of_key(
        (state / "ca.key").read_text()
    )
    # Its key proves to replicas that still trust it that a copy of the state is none of a forger's.
    assert sorted(os.listdir(state)) == [*PREVIOUS, *KEPT]
    assert openssl.public_key_of_certificate(old["certificate"]) == openssl.public_key_of_key(
        (state / "ca-previous.key").read_text()
    )
    # Neither the same step again nor an ordinary run moves the rotation.
    for phase in ("added", "current"):
        again = ensured("tunnel_ca", **options, phase=phase)
        assert not again["changed"]
        assert again["rotating"]
        assert again["fingerprint"] == new["fingerprint"]

    retired = ensured("tunnel_ca", **options, phase="retired")
    assert retired["changed"]
    assert not retired["rotating"]
    assert retired["diff"]["after"]["retired"] == old["fingerprint"]
    assert fingerprints(api, tunnel) == [new["fingerprint"]]
    assert sorted(os.listdir(state)) == KEPT
    for phase in ("retired", "current"):
        assert not ensured("tunnel_ca", **options, phase=phase)["changed"]


def test_a_rotation_to_a_brought_ca(api, state, options, tunnel, openssl_ca):
    ensured("tunnel_ca", **options)
    brought = {"certificate": openssl_ca[0], "private_key": openssl_ca[1]}
    assert ensured("tunnel_ca", **options, **brought, phase="added")["changed"]
    for phase in ("added", "current"):
        assert not ensured("tunnel_ca", **options, **brought, phase=phase)["changed"]
    assert ensured("tunnel_ca", **options, **brought, phase="retired")["changed"]
    # A CA that is there already is not rotated in.
    assert not ensured("tunnel_ca", **options, **brought, phase="added")["changed"]
    assert len(api.certificates) == 2
    assert sorted(os.listdir(state)) == KEPT


def test_a_brought_ca_without_key_is_rotated_in(state, options, tunnel, openssl_ca):
    ensured("tunnel_ca", **options)
    result = ensured("tunnel_ca", **options, certificate=openssl_ca[0], phase="added")
    assert not result["private_key_stored"]
    assert sorted(os.listdir(state)) == [*PREVIOUS, "ca.crt", "tunnel-domain", "tunnel-id"]


def test_a_ca_whose_key_is_elsewhere_outlives_the_state_host(
    api, state, options, tunnel, openssl_ca
):
    """The new state host is given it again, while the replicas name it as the one that was lost."""
    brought = {"certificate": openssl_ca[0]}
    first = ensured("tunnel_ca", **options, **brought)
    (state / "ca.crt").rename(state / "ca-previous.crt")
    again = ensured("tunnel_ca", **options, **brought, exclusive=True)
    assert again["certificate_id"] == first["certificate_id"]
    ended = ensured("tunnel_ca", **options, **brought, phase="retired")
    assert ended["changed"]
    assert ended["diff"]["after"]["retired"] == "none", "it stays"
    assert ended["diff"]["before"]["rotating"] is True
    assert ended["diff"]["after"]["rotating"] is False
    assert fingerprints(api, tunnel) == [first["fingerprint"]]
    assert sorted(os.listdir(state)) == ["ca.crt", "tunnel-domain", "tunnel-id"]


def test_a_rotation_archives_nobody_elses_ca(api, options, tunnel, openssl_ca):
    ensured("tunnel_ca", **options)
    foreign = api.add_certificate(tunnel["id"], openssl_ca[0])
    for check in (True, False):
        message = refused("tunnel_ca", check=check, **options, phase="added")
        assert foreign["fingerprint"] in message
        assert "the CA in use" in message
    foreign["archived_at"] = "2026-11-01T00:00:00Z"
    ensured("tunnel_ca", **options, phase="added")
    # Somebody archives the old one, and takes its slot.
    old = api.active(tunnel["id"])[1]
    old["archived_at"] = "2026-11-01T00:00:00Z"
    foreign["archived_at"] = None
    ensured("tunnel_ca", **options, phase="retired")
    assert foreign["archived_at"] is None
    assert "archive_certificate" not in api.calls


def test_the_cas_of_a_directory_are_withdrawn(api, state, options, tunnel, openssl_ca):
    """Both, in the middle of a rotation, and none from elsewhere."""
    run_module("tunnel_ca", **options)
    rotated = run_module("tunnel_ca", **options, phase="added").result
    assert len(fingerprints(api, tunnel)) == 2
    stored = {name: (state / name).read_bytes() for name in os.listdir(state)}
    predicted = run_module("tunnel_ca", check=True, **options, phase="withdrawn")
    assert predicted.changed
    assert len(fingerprints(api, tunnel)) == 2
    withdrawn = run_module("tunnel_ca", **options, phase="withdrawn").result
    assert withdrawn["changed"]
    assert rotated["fingerprint"] in withdrawn["registration"]
    assert fingerprints(api, tunnel) == []
    assert withdrawn["active"] == []
    assert {name: (state / name).read_bytes() for name in os.listdir(state)} == stored
    foreign = api.add_certificate(tunnel["id"], openssl_ca[0])
    again = run_module("tunnel_ca", **options, phase="withdrawn").result
    assert not again["changed"]
    assert "No CA of this host" in again["registration"]
    assert fingerprints(api, tunnel) == [foreign["fingerprint"]]


def test_the_ca_in_use_is_never_archived(api, state, options, tunnel):
    """It does not matter which file somebody has copied where."""
    ensured("tunnel_ca", **options)
    (state / "ca-previous.crt").write_bytes((state / "ca.crt").read_bytes())
    (state / "ca-previous.crt").chmod(0o600)
    result = ensured("tunnel_ca", **options, phase="retired")
    assert fingerprints(api, tunnel) == [result["fingerprint"]]
    assert sorted(os.listdir(state)) == KEPT


def test_steps_out_of_order(api, state, options, tunnel):
    message = refused("tunnel_ca", **options, phase="added")
    assert f"{state}/ca.crt: is not there" in message
    ensured("tunnel_ca", **options)
    message = refused("tunnel_ca", **options, phase="added", regenerate="always")
    assert "phase: added does not go with regenerate=always" in message
    message = refused("tunnel_ca", path=str(state), phase="added")
    assert "phase: added needs the Tunnels API" in message
    # The CA was made and registered, but not put in its place: the run was refused in between.
    for name in ("ca.crt", "ca.key"):
        (state / name.replace("ca", "ca-next")).write_bytes((state / name).read_bytes())
    assert "has not taken the old one's place yet" in refused(
        "tunnel_ca", **options, phase="retired"
    )


@pytest.mark.parametrize(
    ("phase", "meanwhile"),
    [
        *((phase, "nothing") for phase in ("current", "retired")),
        # Killed on real hosts, too, and completed (molecule/wif/tests).
        pytest.param("added", "nothing", marks=pytest.mark.exhaustive),
        *((phase, "an ordinary run") for phase in ("added", "retired")),
        # One that is killed is completed by another ordinary run in any case.
        pytest.param("current", "an ordinary run", marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_killed_anywhere_is_completed(api, tmp_path, phase, meanwhile):
    states = []
    old = []

    def arguments():
        return {"path": str(states[-1]), "provisioning": "wif", **api.options()}

    def begin():
        states.append(tmp_path / "begin")
        run_module("tunnel", path=str(states[-1]), **api.options())
        if phase != "current":
            old[:] = [run_module("tunnel_ca", **arguments()).result["fingerprint"]]
        if phase == "retired":
            run_module("tunnel_ca", **arguments(), phase="added")
        return begun(api, states[-1])

    put_back = begin()

    def prepare():
        states.append(tmp_path / f"state{len(states)}")
        put_back(states[-1])

    def attempt():
        assert not run_module("tunnel_ca", **arguments(), phase=phase).failed

    def check(_step):
        state = states[-1]
        for entry in os.scandir(state):
            assert stat.S_IMODE(entry.stat().st_mode) == 0o600
        assert len(api.active(api.tunnels[0]["id"])) <= 2
        if meanwhile != "nothing":
            assert not run_module("tunnel_ca", **arguments()).failed
        result = ensured("tunnel_ca", **arguments(), phase=phase)
        expected = [result["fingerprint"], *(old if phase == "added" else [])]
        assert fingerprints(api, api.tunnels[0]) == expected
        assert len(api.certificates) == 1 + (phase != "current")
        previous = PREVIOUS if phase == "added" else []
        assert sorted(os.listdir(state)) == [*previous, *KEPT]
        certificate = (state / "ca.crt").read_text()
        assert openssl.public_key_of_certificate(certificate) == openssl.public_key_of_key(
            (state / "ca.key").read_text()
        )
        for again in (phase, "current"):
            assert not ensured("tunnel_ca", **arguments(), phase=again)["changed"]

    assert kill_everywhere(prepare, attempt, check) > 3


def test_no_secret_comes_out(api, state, options, tunnel):
    for phase in ("current", "added", "retired", "withdrawn"):
        for check in (True, False):
            outcome = run_module("tunnel_ca", check=check, **options, phase=phase)
            key = state / "ca.key"
            secrets = [api.jwt, "sk-ant-oat01-"]
            secrets += key.read_text().split("\n")[1:3] if key.exists() else []
            for secret in secrets:
                assert secret not in outcome.everything


def test_no_first_ca_beside_one_from_elsewhere(api, state, options, tunnel, openssl_ca):
    """Another state host serves the tunnel. A run that asks for it gets both."""
    foreign = api.add_certificate(tunnel["id"], openssl_ca[0])
    for check in (True, False):
        message = refused("tunnel_ca", check=check, **options, exclusive=True)
        assert f"tunnel {tunnel['id']}: has a CA that this state host does not have" in message
        assert foreign["fingerprint"] in message
    assert sorted(os.listdir(state)) == ["tunnel-domain", "tunnel-id"]
    ensured("tunnel_ca", **options)
    assert len(fingerprints(api, tunnel)) == 2
    assert not ensured("tunnel_ca", **options, exclusive=True)["changed"], "it is stored by now"


def test_a_stored_ca_that_is_not_the_tunnel_s(api, state, options, tunnel, openssl_ca):
    """A copy of somebody else's was put back: its CA must not be registered."""
    ensured("tunnel_ca", **options)
    api.certificates.clear()
    foreign = api.add_certificate(tunnel["id"], openssl_ca[0])
    kept = (state / "ca.crt").read_text()
    for check in (True, False):
        for phase in ("current", "added"):
            given = {**options, "exclusive": True, "phase": phase}
            message = refused("tunnel_ca", check=check, **given)
            assert foreign["fingerprint"] in message
            assert "mcp_tunnel_state_is_lost" not in message, "it would register that CA"
    assert fingerprints(api, tunnel) == [foreign["fingerprint"]]
    assert (state / "ca.crt").read_text() == kept
    ensured("tunnel_ca", **options)
    assert len(fingerprints(api, tunnel)) == 2, "asked for, both are registered"


def test_a_stored_ca_with_the_tunnel_s_beside_it(api, state, options, tunnel, openssl_ca):
    """Whoever made the copy knew the tunnel's CA, as every replica does."""
    ensured("tunnel_ca", **options)
    api.certificates.clear()
    foreign = api.add_certificate(tunnel["id"], openssl_ca[0])
    for name in ("ca-previous.crt", "ca-next.crt"):
        (state / name).write_text(openssl_ca[0])
        for check in (True, False):
            message = refused("tunnel_ca", check=check, **options, exclusive=True)
            assert foreign["fingerprint"] in message
        (state / name).unlink()
    assert fingerprints(api, tunnel) == [foreign["fingerprint"]]


def test_a_ca_in_place_of_a_lost_one_killed_anywhere(api, tmp_path, openssl_ca):
    """recover.yml: the lost CA is the only one that is registered, and its key is nowhere."""
    states = []

    def arguments():
        return {"path": str(states[-1]), "provisioning": "wif", **api.options(), "exclusive": True}

    def begin(state):
        run_module("tunnel", path=str(state), **api.options())
        api.add_certificate(api.tunnels[0]["id"], openssl_ca[0])
        (state / "ca-previous.crt").write_text(openssl_ca[0])
        (state / "ca-previous.crt").chmod(0o600)
        return begun(api, state)

    put_back = begin(tmp_path / "begin")

    def prepare():
        states.append(tmp_path / f"state{len(states)}")
        put_back(states[-1])

    def attempt():
        assert not run_module("tunnel_ca", **arguments()).failed

    def check(_step):
        result = ensured("tunnel_ca", **arguments())
        assert len(fingerprints(api, api.tunnels[0])) == 2
        assert len(api.certificates) == 2
        assert result["rotating"]
        assert sorted(os.listdir(states[-1])) == ["ca-previous.crt", *KEPT]
        assert not ensured("tunnel_ca", **arguments())["changed"]

    assert kill_everywhere(prepare, attempt, check) > 3


def test_a_stored_ca_is_registered_where_there_is_none(api, state, options, tunnel):
    """The run that made it was killed before it could register it."""
    ensured("tunnel_ca", **options)
    api.certificates.clear()
    assert run_module("tunnel_ca", **options, exclusive=True).changed
    assert len(fingerprints(api, tunnel)) == 1


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_first_cas_at_a_time_one_stays(
    api, state, options, tunnel, openssl_ca, monkeypatch, is_first
):
    """Both runs find no CA, and both register one."""
    add = api.add_certificate

    def add_both(tunnel_id, pem):
        own, foreign = add(tunnel_id, pem), add(tunnel_id, openssl_ca[0])
        times = ["2026-11-28T12:00:00Z", "2026-11-28T12:00:01Z"]
        own["created_at"], foreign["created_at"] = times if is_first else times[::-1]
        return own

    monkeypatch.setattr(api, "add_certificate", add_both)
    if is_first:
        result = run_module("tunnel_ca", **options, exclusive=True)
        assert not result.failed, result.message
        assert len(fingerprints(api, tunnel)) == 2, "the other run takes its own back"
        assert sorted(os.listdir(state)) == KEPT
    else:
        message = refused("tunnel_ca", **options, exclusive=True)
        assert "has a CA that this state host does not have" in message
        (left,) = api.active(tunnel["id"])
        assert left["created_at"] == "2026-11-28T12:00:00Z"
        assert sorted(os.listdir(state)) == ["tunnel-domain", "tunnel-id"]
