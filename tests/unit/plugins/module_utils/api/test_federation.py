from __future__ import annotations

import re
import time
from email.utils import formatdate

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.federation import exchange
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.federation_ids import (
    Federation,
    check_federation,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.web import Web
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes.fake_http import (
    Answer,
    FakeHttp,
    json_answer,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.jwts import (
    SIGNATURE,
    make_jwt,
)

ORGANIZATION = "0b3c7f0a-8a5e-4f55-9d8e-2f0a7e1f4b2c"
WHOLE = Federation("fdrl_1", ORGANIZATION, "svac_1", "wrkspc_1")
ORIGIN = "identity token (identity_source=file, identity_file=/run/token)"
DENIED = {
    "type": "error",
    "error": {"type": "authentication_error", "message": "Authentication failed"},
    "request_id": "req_in_body",
}


def denial(token, federation=WHOLE, status=401, fields=None, headers=()):
    fields = DENIED if fields is None else fields
    with (
        FakeHttp(lambda _asked: json_answer(status, fields, *headers)) as server,
        pytest.raises(TunnelError) as caught,
    ):
        exchange(Web(retries=0), server.url, federation, lambda: token, ORIGIN)
    assert token not in str(caught.value)
    assert SIGNATURE not in str(caught.value)
    return str(caught.value)


def test_an_exchange(direct):
    answer = {"access_token": "sk-ant-oat01-x", "token_type": "Bearer", "expires_in": 600}
    token = make_jwt()
    with FakeHttp(lambda _asked: json_answer(200, answer)) as server:
        access = exchange(Web(), server.url, WHOLE, lambda: f"{token}\n", ORIGIN)
        exchange(Web(), server.url, Federation("fdrl_1", ORGANIZATION), lambda: token, ORIGIN)
    assert access.value == "sk-ant-oat01-x"
    assert abs(access.expires_at.timestamp() - time.time() - 600) < 60
    assert access.value not in repr(access)
    first, second = server.asked
    assert (first.method, first.path) == ("POST", "/v1/oauth/token")
    assert first.headers["anthropic-beta"] == "oauth-2025-04-20,oidc-federation-2026-04-01"
    assert first.json == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": token,
        "federation_rule_id": "fdrl_1",
        "organization_id": ORGANIZATION,
        "service_account_id": "svac_1",
        "workspace_id": "wrkspc_1",
    }
    assert set(first.json) - set(second.json) == {"service_account_id", "workspace_id"}


def test_a_denial_says_what_shows_from_here(direct):
    now = int(time.time())
    message = denial(
        make_jwt({"alg": "HS256"}, exp=now - 45, iat=now - 9000),
        Federation("fdrl_1", ORGANIZATION),
        headers=[("request-id", "req_7")],
    )
    assert "the API answered 401 authentication_error: Authentication failed" in message
    assert "(request-id req_7)" in message
    assert "it expired 4" in message
    assert "HS256 is symmetric" in message
    assert "exceeds 1 h" in message
    assert "workspace_id is not given" in message
    assert "Compare it with the rule fdrl_1: iss https://issuer.example, sub host:state" in message
    assert "authentication history" in message


GOOD = json_answer(200, {"access_token": "sk-ant-oat01-x", "expires_in": 600})
PASSING = {
    "lost": Answer(silent=True),
    "cut": Answer(200, GOOD.body, cut=9),
    "500": json_answer(500, {"error": {"type": "api_error", "message": "oops"}}),
    "429": json_answer(429, {"error": {"type": "rate_limit_error", "message": "slowly"}}),
}


class Issuer:
    """An API that takes a ``jti`` once, behind a first answer; and a platform's tokens."""

    def __init__(self, first, *tokens):
        self.answers = [first]
        self.tokens = list(tokens)
        self.sent = []

    def fetch(self):
        token = self.tokens[0]
        if len(self.tokens) > 1:
            self.tokens.pop(0)
        if isinstance(token, TunnelError):
            raise token
        return token

    def respond(self, asked):
        assertion = asked.json["assertion"]
        is_repeated = assertion in self.sent
        self.sent.append(assertion)
        if self.answers:
            return self.answers.pop(0)
        return json_answer(401, DENIED) if is_repeated else GOOD

    def exchange(self):
        with FakeHttp(self.respond) as server:
            return exchange(Web(retries=2), server.url, WHOLE, self.fetch, ORIGIN)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


@pytest.mark.parametrize(
    ("first", "said"),
    [("lost", "did not answer"), ("cut", "not answer"), ("500", "500 api_error: oops")],
)
def test_a_token_that_is_accepted_once_is_sent_once(direct, quick, first, said):
    """A second answer, 401, would hide the first."""
    platform = Issuer(PASSING[first], make_jwt(jti="one"))
    with pytest.raises(TunnelError) as caught:
        platform.exchange()
    assert len(platform.sent) == 1
    message = str(caught.value)
    assert message.startswith("token exchange: ")
    assert said in message
    assert "has a jti, so it is accepted once and was not sent again" in message
    assert "Run again when the platform has issued another identity token" in message


@pytest.mark.parametrize("first", PASSING)
def test_another_token_of_the_platform_is_sent_after_a_passing_fault(direct, quick, first):
    tokens = [make_jwt(jti="one"), make_jwt(jti="two")]
    platform = Issuer(PASSING[first], *tokens)
    if first == "429":  # refused without effect: the same one is still good
        platform.respond = lambda asked, real=platform.respond: (
            platform.sent.clear() if len(platform.sent) == 1 else None,
            real(asked),
        )[1]
        assert platform.exchange().value == "sk-ant-oat01-x"
        assert platform.sent == tokens[:1]
        return
    assert platform.exchange().value == "sk-ant-oat01-x"
    assert platform.sent == tokens


def test_a_platform_that_has_no_other_token_does_not_hide_the_first_answer(direct, quick):
    gone = TunnelError("/run/token", "does not exist", "Check the path")
    platform = Issuer(PASSING["500"], make_jwt(jti="one"), gone)
    with pytest.raises(TunnelError, match="500 api_error: oops"):
        platform.exchange()


@pytest.mark.parametrize("first", PASSING)
def test_a_token_without_jti_is_sent_again(direct, quick, first):
    platform = Issuer(PASSING[first], make_jwt())
    platform.respond = lambda _asked: platform.answers.pop(0) if platform.answers else GOOD
    assert platform.exchange().value == "sk-ant-oat01-x"


def test_a_denial_tells_of_a_token_that_is_accepted_once(direct):
    message = denial(make_jwt(jti="one"))
    assert "it has a jti, so it is accepted once: if any run or program has exchanged it" in message
    assert "nothing wrong" not in message
    assert "jti" not in denial(make_jwt())


def test_a_denial_without_findings(direct):
    message = denial(make_jwt())
    assert "nothing wrong shows from here" in message
    assert "(request-id req_in_body)" in message


@pytest.mark.parametrize(("ahead", "said"), [(-120, "ahead of"), (300, "behind")])
def test_a_wrong_clock_is_found(direct, monkeypatch, ahead, said):
    """The server's clock decides, and its answer has the time."""
    now = int(time.time()) + ahead
    monkeypatch.setattr(
        "http.server.BaseHTTPRequestHandler.date_time_string",
        lambda _self: formatdate(now, usegmt=True),
    )
    message = denial(make_jwt(iat=now, exp=now + 600))
    assert re.search(rf"this host's clock is \d+ s {said} the API's", message)
    assert "in the future" not in message
    assert "expired" not in message


def test_other_refusals(direct):
    error = {"error": {"type": "invalid_request_error", "message": "workspace_id: wrong"}}
    message = denial(make_jwt(), status=400, fields=error)
    assert "the API answered 400 invalid_request_error: workspace_id: wrong" in message
    message = denial(make_jwt(), status=400, fields=["strange"])
    assert "400 no error type: no message (request-id unknown)" in message
    message = denial(make_jwt(), status=200, fields={"access_token": ""})
    assert "holds no access_token" in message


def test_an_error_that_quotes_the_token_is_blanked(direct):
    token = make_jwt()
    error = {"error": {"type": "invalid_request_error", "message": f"bad assertion {token}"}}
    assert "(a secret, not shown)" in denial(token, status=400, fields=error)


OPTIONS = {
    "federation_rule_id": "fdrl_01AbC-_",
    "organization_id": ORGANIZATION.upper(),
    "service_account_id": None,
    "workspace_id": "default",
}


def test_good_ids():
    upper = ORGANIZATION.upper()
    assert check_federation(OPTIONS) == Federation("fdrl_01AbC-_", upper, "", "default")
    given = {**OPTIONS, "workspace_id": " wrkspc_1 ", "service_account_id": ""}
    assert check_federation(given).workspace_id == "wrkspc_1"


def test_all_bad_ids_are_named_at_once():
    given = dict(zip(OPTIONS, ("svac_1", "org_1", "wrkspc_1", "main")))
    with pytest.raises(TunnelError) as caught:
        check_federation(given)
    for name in OPTIONS:
        assert f"{name} is not" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("federation_rule_id", None, "is missing; it looks like fdrl_..."),
        ("federation_rule_id", "svac_1", "is not an ID that looks like fdrl_..."),
        ("federation_rule_id", "fdrl_", "is not an ID"),
        ("federation_rule_id", "fdrl_a/b", "is not an ID"),
        ("organization_id", "", "is missing"),
        ("organization_id", "org_1", "is not a UUID"),
        ("service_account_id", "wrkspc_1", "is not an ID that looks like svac_..."),
        ("workspace_id", "main", 'is not an ID that looks like wrkspc_... or the word "default"'),
        ("workspace_id", "wrkspc_\n", "is not an ID"),
    ],
)
def test_bad_ids(name, value, problem):
    with pytest.raises(TunnelError) as caught:
        check_federation({**OPTIONS, name: value})
    assert str(caught.value).startswith(f"{name}: {problem}")
