"""Every identity source, at the laboratory's platform, with a token that the API then takes."""

from __future__ import annotations

import os

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.sources import SOURCES
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import run_module

from contract.identity_cases import (
    ANY_AUDIENCE,
    CASES,
    OVER_TLS,
    gcp,
    github_actions,
    spiffe_library,
)
from contract.secure import Secure

OTHER_AUDIENCE = "https://tunnels.example"
# The beginning of every JWT: '{"' in base64url.
JWT_START = "eyJ"


def each(cases):
    return pytest.mark.parametrize("make", cases, ids=lambda make: make.__name__)


@pytest.fixture
def ask_tunnels(monkeypatch):
    """Run tunnel_info with the identity of a case under a rule; nothing else is reachable."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ACTIONS_", "SPIFFE_")):
            monkeypatch.delenv(name)

    def ask_tunnels(api, case, rule, **options):
        for name, value in case.environment.items():
            monkeypatch.setenv(name, value)
        outcome = run_module(
            "tunnel_info",
            api_url=api.url,
            api_retries=0,
            federation_rule_id=rule["id"],
            organization_id=api.state["organization_id"],
            identity_source=case.source,
            **{**case.options, **options},
        )
        assert JWT_START not in outcome.everything
        return outcome

    return ask_tunnels


def check_one_exchange(api, rule, outcome):
    """The API has given one access token, under this rule, and tunnels were listed with it."""
    assert not outcome.failed, outcome.message
    assert outcome.result["tunnels"] == []
    exchange, listing = api.audit()
    assert (exchange["call"], exchange["status"], exchange["reason"]) == ("exchange", 200, None)
    assert exchange["body"]["federation_rule_id"] == rule["id"]
    assert (listing["call"], listing["status"]) == ("list", 200)
    assert api.ask("status")["access_tokens"] == 1


def test_every_source_has_a_case(identity, tmp_path):
    assert {case(identity, tmp_path).source for case in CASES} == set(SOURCES)


@each(CASES)
def test_token_is_exchanged(lab_api, identity, tmp_path, ask_tunnels, make):
    case = make(identity, tmp_path)
    rule = lab_api.add_rule(case.platform, **case.rule)
    check_one_exchange(lab_api, rule, ask_tunnels(lab_api, case, rule))


@each(ANY_AUDIENCE)
def test_audience_that_a_rule_wants(lab_api, identity, tmp_path, ask_tunnels, make):
    case = make(identity, tmp_path)
    rule = lab_api.add_rule(case.platform, **{**case.rule, "audience": OTHER_AUDIENCE})
    outcome = ask_tunnels(lab_api, case, rule, identity_audience=OTHER_AUDIENCE)
    check_one_exchange(lab_api, rule, outcome)


@each([gcp, spiffe_library, github_actions])
def test_rule_of_another_platform(lab_api, identity, tmp_path, ask_tunnels, make):
    """The exchange is denied, and the message names the token's issuer and subject."""
    case = make(identity, tmp_path)
    outcome = ask_tunnels(lab_api, case, lab_api.add_rule("okta"))
    assert outcome.failed
    facts = identity.ask("status")[case.platform]
    for word in (f"identity_source={case.source}", facts["issuer"], facts["subject"]):
        assert word in outcome.message
    [exchange] = lab_api.audit()
    assert (exchange["call"], exchange["status"]) == ("exchange", 401)
    assert exchange["reason"]


@pytest.fixture(scope="module")
def running_secure(tmp_path_factory):
    made = Secure(tmp_path_factory.mktemp("secure"))
    yield made
    made.kill()


@pytest.fixture
def secure(running_secure):
    """Platforms and API that can be reached by https only; the API has seen nothing yet."""
    running_secure.api.reset()
    return running_secure


@pytest.mark.parametrize("trust", ["api_ca_bundle", "SSL_CERT_FILE"])
@each(OVER_TLS)
def test_trusted_ca(secure, tmp_path, ask_tunnels, monkeypatch, make, trust):
    case = make(secure.identity, tmp_path)
    rule = secure.api.add_rule(case.platform, **case.rule)
    options = {}
    if trust == "api_ca_bundle":
        options[trust] = str(secure.ca)
    else:
        monkeypatch.setenv(trust, str(secure.ca))
    check_one_exchange(secure.api, rule, ask_tunnels(secure.api, case, rule, **options))


@each(OVER_TLS)
def test_unknown_ca(secure, tmp_path, ask_tunnels, make):
    """No secret is sent to a platform that cannot prove its identity."""
    case = make(secure.identity, tmp_path)
    outcome = ask_tunnels(secure.api, case, secure.api.add_rule(case.platform, **case.rule))
    assert outcome.failed
    assert secure.identity.url in outcome.message
    assert "api_ca_bundle" in outcome.message
    assert secure.api.audit() == []
