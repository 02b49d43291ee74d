"""Refusals come before any effect, and with a message that says what to do."""

from __future__ import annotations

import pytest

from contract.site import CREDENTIALS
from lab.tests.platforms import authority, in_seconds


@pytest.fixture
def theirs(lab_api, site):
    """The vendor's client, for the actions of others."""
    return lab_api.client(site.rule).beta.tunnels


@pytest.fixture
def refused(site):
    """Runs a provisioning run that must fail without effect; returns the message."""

    def refused(**tunnel):
        before = site.api.ask("status")["tunnels"], contents(site)
        run = site.provision(**tunnel)
        assert run.failed
        assert (site.api.ask("status")["tunnels"], contents(site)) == before
        assert not {"create", "rotate_token", "add_certificate"} & set(run.calls)
        assert run.message.endswith(".")
        return run.message

    return refused


def contents(site):
    return {path.name: path.read_text() for path in site.path.glob("*")}


def says(message, *words):
    for word in words:
        assert word in message


def test_an_unknown_tunnel(refused):
    message = refused(tunnel_id="tnl_01Unknown")
    says(message, "tnl_01Unknown", "unknown", "request-id req_", "Check the ID", "workspace_id")


def test_a_tunnel_of_another_workspace(site, refused, lab_api):
    other = lab_api.ask("add-workspace", "other")
    rule = lab_api.add_rule(
        workspaces=[other["id"]],
        service_account_id=lab_api.ask("add-service-account", [other["id"]])["id"],
    )
    tunnel = lab_api.client(rule).beta.tunnels.create(display_name="theirs")
    says(refused(tunnel_id=tunnel.id), tunnel.id, "unknown", "workspace")


def test_an_archived_tunnel(refused, theirs):
    tunnel = theirs.create(display_name="production")
    theirs.archive(tunnel.id)
    says(refused(tunnel_id=tunnel.id), tunnel.id, "was archived at", "permanent", "another tunnel")


def test_a_tunnel_that_was_archived_since(site, refused, theirs):
    site.provision()
    theirs.archive(site.stored("tunnel-id"))
    says(refused(), "was archived at", "state directory")


def test_an_id_and_a_name_that_disagree(refused, theirs):
    tunnel = theirs.create(display_name="production")
    theirs.create(display_name="staging")
    message = refused(tunnel_id=tunnel.id, display_name="staging")
    says(message, "display_name", "'staging'", tunnel.id, "'production'", "Correct")


def test_an_id_that_is_not_the_stored_one(site, refused, theirs):
    site.provision()
    other = theirs.create(display_name="other")
    message = refused(tunnel_id=other.id)
    says(message, other.id, site.stored("tunnel-id"), str(site.path / "tunnel-id"), "replace: true")


def test_several_tunnels_of_one_name(refused, theirs):
    tunnels = [theirs.create(display_name="production") for _ in range(2)]
    message = refused(display_name="production")
    says(message, "2 active tunnels", "'production'", *(one.id for one in tunnels), "tunnel_id")


def test_one_tunnel_too_many(refused, theirs, site):
    for number in range(10):
        theirs.create(display_name=f"tunnel {number}")
    before = site.api.ask("status")["tunnels"]
    run = site.provision(display_name="production")
    assert run.failed
    assert site.api.ask("status")["tunnels"] == before
    assert contents(site) == {}
    says(run.message, "10 tunnels are active", "Archive a tunnel", "tunnel_id")


def test_slots_that_others_have_filled(site, theirs):
    tunnel = theirs.create(display_name="production")
    others = [
        theirs.certificates.create(tunnel.id, ca_certificate_pem=authority()) for _ in range(2)
    ]
    before = site.api.ask("status")["tunnels"]
    run = site.provision(tunnel_id=tunnel.id)
    assert run.failed
    for certificate in others:
        says(run.message, certificate.id, certificate.fingerprint)
    says(run.message, tunnel.id, "2 active CA certificates", "0 days old", "Archive the one")
    assert "not from this state directory" in run.message
    assert site.api.ask("status")["tunnels"] == before
    assert set(contents(site)) == CREDENTIALS - {"ca.crt", "ca.key"}  # no CA was made in vain


def test_a_rotation_without_a_free_slot(site, theirs):
    """Someone else registered the other CA, so it is not ours to archive."""
    site.provision()
    site.api.ask("register-ca", site.stored("tunnel-id"), authority())
    before = site.api.ask("status")["tunnels"], contents(site)
    outcome = site.module("tunnel_ca", phase="added")
    assert outcome.failed
    says(outcome.message, "the CA in use", "not from this state directory", "Archive the one")
    assert (site.api.ask("status")["tunnels"], contents(site)) == before


def test_a_ca_of_someone_else_is_left_alone(site, theirs):
    """If a slot is free, ours is registered beside it; only ours comes and goes."""
    tunnel = theirs.create(display_name="production")
    other = theirs.certificates.create(tunnel.id, ca_certificate_pem=authority())
    assert not site.provision(tunnel_id=tunnel.id).failed
    registered = {one.fingerprint for one in theirs.certificates.list(tunnel.id)}
    assert registered == {other.fingerprint, site.fingerprint()}
    assert not site.provision().changed
    assert not site.module("tunnel_ca", phase="retired").changed
    assert len(list(theirs.certificates.list(tunnel.id))) == 2


BAD_FILES = {
    "missing": (None, ("does not exist on this host", "Check the path")),
    "a directory": ("/", ("cannot be read", "Is a directory")),
    "empty": ("", ("is empty", "Check what writes it")),
    "white space": (" \n", ("is empty",)),
    "no JWT": ("sesame", ("is not a JWT", "three parts", "OIDC issuer")),
    "unsigned": ("eyJhbGciOiJub25lIn0.e30.", ("is not signed", "OIDC issuer has signed")),
    "16 KiB and a byte": (
        f"eyJhbGciOiJSUzI1NiJ9.{'A' * (16 * 1024 + 1 - 24)}.AA",
        ("16385 bytes", "more than 16384", "not a key, a certificate or a bundle"),
    ),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_an_identity_token_that_is_none(site, tmp_path, refused, what):
    """The API is not called."""
    content, words = BAD_FILES[what]
    path = tmp_path / "identity"
    if content == "/":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    site.options["identity_file"] = str(path)
    says(refused(), str(path), *words)
    assert site.api.audit() == []


BAD_TOKENS = {
    "HS256": ({"algorithm": "HS256"}, ("HS256 is symmetric", "asymmetric")),
    "expired": ({"claims": {"iat": in_seconds(-700)}}, ("it expired ", " ago, at 2")),
    "of the future": (
        {"claims": {"iat": in_seconds(3600), "nbf": in_seconds(3600)}},
        ("begins to be valid 5", "was issued 5", " min in the future, at 2"),
    ),
    "without kid": ({"with_kid": False}, ("no kid",)),
    "for another audience": ({"claims": {"aud": "https://other"}}, ("its aud is https://other",)),
    "for too long": ({"lifetime": 7200}, ("lifetime of 2 h exceeds 1 h",)),
    "of someone else": ({"claims": {"sub": "stranger"}}, ("nothing wrong", "sub stranger")),
    "of EdDSA": ({"algorithm": "EdDSA"}, ("EdDSA is not one of RSA or ECDSA",)),
    "of another key": ({"key": "unpublished"}, ("nothing wrong shows from here",)),
}


@pytest.mark.parametrize("what", BAD_TOKENS)
def test_an_identity_token_that_is_denied(site, identity, tmp_path, refused, what):
    """The vendor's answer is the same for all; the message adds the reason seen from here."""
    how, words = BAD_TOKENS[what]
    how = {**how, "claims": how.get("claims")}
    path = tmp_path / "identity"
    path.write_text(identity.token(**how))
    site.options["identity_file"] = str(path)
    message = refused()
    says(message, "401 authentication_error", "request-id req_", *words)
    says(message, site.rule["id"], "authentication history")
    assert {entry["call"] for entry in site.api.audit()} == {"exchange"}


def test_an_identity_token_that_was_used_before(site, identity, tmp_path):
    """Someone else's program has exchanged it; nothing else is wrong with it."""
    path = tmp_path / "identity"
    path.write_text(identity.token(claims={"jti": "one"}))
    site.options["identity_file"] = str(path)
    assert site.api.credentials(site.rule, path.read_text())().token
    run = site.provision()
    says(run.message, "401 authentication_error", "it has a jti", "exchanged it before")
    path.write_text(identity.token(claims={"jti": "two"}))
    assert not site.provision().failed
    # One exchange is enough for a prediction, too.
    path.write_text(identity.token(claims={"jti": "three"}))
    assert not any(
        site.module(name, check=True).failed for name in ("tunnel", "tunnel_token", "tunnel_ca")
    )
    site.session_file.unlink()


@pytest.mark.parametrize("fault", ["timeout_after", "reset_after", "truncated", "500"])
def test_an_exchange_that_may_have_used_up_its_token(site, identity, tmp_path, hurry, fault):
    path = tmp_path / "identity"
    path.write_text(identity.token(claims={"jti": "one"}))
    site.options["identity_file"] = str(path)
    site.api.ask("fault", call="exchange", fault=fault, times=1)
    if fault.startswith("timeout"):
        hurry.silent["exchange"] = 1
    run = site.provision()
    assert run.calls == ["exchange"]
    says(run.message, "token exchange: ", "has a jti", "Run again when the platform has issued")
    assert "401" not in run.message


def test_a_scope_that_is_missing(site, refused, lab_api):
    site.options["federation_rule_id"] = lab_api.add_rule(scope="workspace:inference")["id"]
    message = refused()
    says(message, "403 permission_error", "workspace:manage_tunnels", "request-id req_")


def test_an_account_that_is_no_member(site, refused, lab_api):
    account = lab_api.ask("add-service-account", [])["id"]
    site.options["federation_rule_id"] = lab_api.add_rule(service_account_id=account)["id"]
    site.options["service_account_id"] = account
    says(refused(), "403 permission_error", account, "a member of the workspace default")
