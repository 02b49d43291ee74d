from __future__ import annotations

import contextlib
import time
from datetime import datetime, timedelta, timezone

import jwt as pyjwt
import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.jwt_claims import (
    check_jwt,
    decode_jwt,
    jwt_facts,
    jwt_findings,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.jwts import (
    encode,
    make_jwt,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = int(time.time())


def findings(header=None, now=NOW, **claims):
    moment = datetime.fromtimestamp(now, timezone.utc)
    times = {"iat": NOW, "exp": NOW + 600}
    return jwt_findings(decode_jwt(make_jwt(header, **{**times, **claims}), "token"), moment)


def test_a_good_token_has_no_findings():
    assert findings() == []
    assert findings(aud=["else", "https://api.anthropic.com"]) == []
    # Clocks may differ by half a minute.
    assert findings(now=NOW + 629) == findings(now=NOW - 29) == []


@pytest.mark.parametrize(
    ("header", "claims", "expected"),
    [
        (None, {"exp": NOW - 40, "iat": NOW - 640}, "it expired 40 s ago, at 20"),
        (None, {"exp": NOW - 7200, "iat": NOW - 9000}, "it expired 2 h ago"),
        (None, {"iat": NOW + 300}, "it was issued 5 min in the future, at 20"),
        (None, {"nbf": NOW + 90}, "it begins to be valid 90 s in the future, at 20"),
        (
            None,
            {"exp": NOW + 7200},
            "its lifetime of 2 h exceeds 1 h, the default maximum of an issuer",
        ),
        (None, {"exp": NOW + 5400}, "its lifetime of 1 h 30 min exceeds 1 h"),
        (None, {"exp": NOW + 864000}, "its lifetime of 10 d exceeds 1 h"),
        (
            None,
            {"aud": "api.anthropic.com"},
            "its aud is api.anthropic.com, and a rule's default is https://api.anthropic.com",
        ),
        (None, {"aud": ["a", "b"]}, 'its aud is ["a", "b"], and'),
        ({"alg": "HS256"}, {}, "its algorithm HS256 is symmetric"),
        ({"alg": "EdDSA"}, {}, "its algorithm EdDSA is not one of RSA or ECDSA"),
        ({"alg": "none"}, {}, "it is not signed (alg none)"),
        ({"kid": None}, {}, "its header has no kid"),
        (None, {"sub": None}, "it has no sub"),
        (None, {"iss": ""}, "it has no iss"),
        (None, {"aud": None}, "it has no aud"),
        (None, {"exp": None}, "it has no usable exp"),
        (None, {"exp": "tomorrow"}, "its exp is not a number of seconds"),
        (None, {"exp": 253402300799}, "its lifetime of"),
        (None, {"exp": -62135596800, "iat": None}, "ago, at "),
    ],
)
def test_findings(header, claims, expected):
    found = findings(header, **claims)
    assert any(expected in finding for finding in found), found


def test_the_claims_for_comparison_are_shown_without_control_characters():
    facts = jwt_facts(decode_jwt(make_jwt(sub="host\n\x1b[31m" + "x" * 300), "token"))
    assert "iss https://issuer.example, sub host??[31mxxx" in facts
    assert "x..., aud https://api.anthropic.com" in facts


def test_a_token_of_another_library_is_read():
    token = pyjwt.encode({"iss": "ä", "n": 1}, "k" * 32, algorithm="HS256", headers={"kid": "1"})
    jwt = decode_jwt(check_jwt(f"\n {token} \n", "token"), "token")
    assert jwt.claims == {"iss": "ä", "n": 1}
    assert jwt.header["alg"] == "HS256"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("a" * 16385, "is 16385 bytes long, more than 16384 (16 KiB)"),
        ("word", "is not a JWT"),
        ("a.b", "is not a JWT"),
        (f"{encode({'alg': 'none'})}.{encode({})}.", "is not signed"),
        ("..", "is not a JWT"),
        (f"{encode([])}.{encode({})}.x", "is not a JWT"),
        (f"{encode({})}.{encode('x')}.eA", "is not a JWT"),
        (make_jwt() + ".more", "is not a JWT"),
        (make_jwt()[:-1] + "!", "is not a JWT"),
        (make_jwt().replace(".", ". "), "is not a JWT"),
        ("-----BEGIN PRIVATE KEY-----", "is not a JWT"),
    ],
)
def test_what_is_no_token(text, problem):
    with pytest.raises(TunnelError) as caught:
        check_jwt(text, "/run/token")
    assert str(caught.value).startswith(f"/run/token: {problem}")
    assert caught.value.__cause__ is None
    if len(text) > 10:
        assert text not in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_is_a_token_or_an_error(text):
    with contextlib.suppress(TunnelError):
        assert decode_jwt(text, "token").claims is not None


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 10**400, -1e300])
def test_a_time_that_no_clock_shows(claim, value):
    jwt = decode_jwt(f"{encode({})}.{encode({claim: value})}.eA", "token")
    found = jwt_findings(jwt, datetime.now(timezone.utc))
    assert any(finding.startswith(f"its {claim} is out of range") for finding in found)


@given(
    st.dictionaries(
        st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=4,
        ),
    )
)
def test_findings_of_any_claims(claims):
    jwt = decode_jwt(f"{encode({})}.{encode(claims)}.eA", "token")
    moment = datetime.now(timezone.utc) - timedelta(days=1)
    assert all(isinstance(finding, str) for finding in jwt_findings(jwt, moment))
