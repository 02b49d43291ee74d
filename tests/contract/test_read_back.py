"""The vendor's own client reads what our modules write, and they accept what it makes."""

from __future__ import annotations

from datetime import datetime

import pytest

from contract.site import check_nothing_left


@pytest.fixture
def theirs(lab_api, site):
    return lab_api.client(site.rule).beta.tunnels


def test_the_client_reads_what_we_wrote(site, theirs):
    made, _token, ca = site.provision(display_name="production").outcomes
    [tunnel] = theirs.list()
    assert theirs.retrieve(site.stored("tunnel-id")) == tunnel
    assert (tunnel.id, tunnel.domain) == (site.stored("tunnel-id"), site.stored("tunnel-domain"))
    assert tunnel.display_name == "production"
    assert tunnel.created_at == datetime.fromisoformat(made.result["created_at"])
    assert tunnel.archived_at is None
    assert theirs.reveal_token(tunnel.id).tunnel_token == site.stored("tunnel-token")
    [certificate] = theirs.certificates.list(tunnel.id)
    assert certificate.id == ca.result["certificate_id"]
    assert certificate.fingerprint == site.fingerprint()
    assert certificate.tunnel_id == tunnel.id


def test_the_client_reads_what_we_rotated(site, theirs):
    site.provision()
    before = site.stored("tunnel-token"), site.fingerprint()
    site.rotate()
    [tunnel] = theirs.list()
    revealed = theirs.reveal_token(tunnel.id).tunnel_token
    new, old = theirs.certificates.list(tunnel.id, include_archived=True)
    assert revealed == site.stored("tunnel-token") != before[0]
    assert (new.fingerprint, old.fingerprint) == (site.fingerprint(), before[1])
    assert new.archived_at is None
    assert old.archived_at is not None


@pytest.mark.parametrize("given", ["tunnel_id", "display_name"])
def test_we_take_what_the_client_made(site, theirs, given):
    tunnel = theirs.create(display_name="production")
    token = theirs.reveal_token(tunnel.id).tunnel_token
    run = site.provision(**{given: {"tunnel_id": tunnel.id}.get(given, "production")})
    assert not run.failed, run.message
    assert not run.outcomes[0].result["created"]
    assert site.stored("tunnel-token") == token
    assert site.stored("tunnel-id") == tunnel.id
    check_nothing_left(site)


def test_a_token_that_the_client_rotated_is_taken_over(site, theirs):
    site.provision()
    theirs.rotate_token(site.stored("tunnel-id"), reason="leaked")
    run = site.provision()
    assert run.outcomes[1].result["repaired"]
    check_nothing_left(site)


def test_a_ca_that_the_client_archived_stays_archived_until_it_is_rotated(site, theirs):
    site.provision()
    [certificate] = theirs.certificates.list(site.stored("tunnel-id"))
    archived = theirs.certificates.archive(certificate.id, tunnel_id=site.stored("tunnel-id"))
    before = site.api.ask("status")["tunnels"]
    run = site.provision()
    assert run.failed
    assert f"was archived at {archived.archived_at:%Y-%m-%dT%H:%M:%S}" in run.message
    assert site.api.ask("status")["tunnels"] == before
    rotation = site.rotate()
    assert not rotation.failed, rotation.message
    assert "archive_certificate" not in rotation.calls
    check_nothing_left(site)


def test_what_we_archived_is_archived_for_the_client(site, theirs):
    site.provision()
    site.module("tunnel", state="archived")
    [tunnel] = theirs.list(include_archived=True)
    assert tunnel.archived_at is not None
    assert list(theirs.certificates.list(tunnel.id)) == []
