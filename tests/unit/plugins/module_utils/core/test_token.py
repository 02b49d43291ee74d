from __future__ import annotations

import base64
import traceback

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.token import (
    check_tunnel_id,
    is_uuid,
    parse_token,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import (
    SECRET,
    UUID,
    encode,
    make_token,
)
from hypothesis import given
from hypothesis import strategies as st

GOOD = {"a": "account", "t": UUID, "s": base64.b64encode(SECRET).decode()}


def test_a_token_tells_its_tunnel():
    assert parse_token(make_token()).tunnel_uuid == UUID


def test_white_space_around_and_capitals_do_not_matter():
    assert parse_token(f" {make_token(UUID.upper())}\n").tunnel_uuid == UUID


def test_fields_that_we_do_not_know_are_kept_out_of_it():
    assert parse_token(encode({**GOOD, "e": "fed"})).tunnel_uuid == UUID


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        (f"cloudflared service install {make_token()}", "white space inside"),
        ("sk-ant-oat01-abc", "not base64-encoded JSON"),
        (make_token()[:-8], "not base64-encoded JSON"),
        (make_token() + "=", "not base64-encoded JSON"),
        (base64.b64encode(b"\xff\xfe").decode(), "not base64-encoded JSON"),
        (encode([1]), "not a JSON object"),
        (encode("x"), "not a JSON object"),
        (encode({**GOOD, "a": ""}), "has no account"),
        (encode({"a": "x", "s": "eA=="}), "has no tunnel UUID"),
        (encode({"a": "x", "t": UUID}), "has no secret"),
        (encode({**GOOD, "s": 5}), "has no secret"),
        (encode({**GOOD, "t": "tnl_123"}), "is not a tunnel UUID"),
        (encode({**GOOD, "t": UUID + "\n"}), "is not a tunnel UUID"),
        (encode({**GOOD, "s": "no base64!"}), "secret.*is not base64"),
    ],
)
def test_what_is_no_token(text, problem):
    with pytest.raises(TunnelError, match=rf"mcp_tunnel_token: .*{problem}.*Copy the tunnel token"):
        parse_token(text, "mcp_tunnel_token")


@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.b64encode(raw).decode())))
def test_nothing_else_than_a_token_error_comes_out(text):
    with pytest.raises(TunnelError):
        parse_token(text)


@given(st.sampled_from(["a", "t", "s"]), st.integers() | st.none() | st.just("planted-text"))
def test_messages_do_not_quote_the_token(field, value):
    text = encode({**GOOD, "t": "wrong", field: value})
    with pytest.raises(TunnelError) as caught:
        parse_token(text)
    printed = "".join(traceback.format_exception(caught.value))
    for planted in (text, GOOD["s"], "planted-text"):
        assert planted not in printed


def test_tunnel_ids():
    assert check_tunnel_id(" tnl_01AbC ") == "tnl_01AbC"
    assert check_tunnel_id(UUID.upper()) == UUID
    assert is_uuid(UUID)
    assert not is_uuid("tnl_01AbC")


@pytest.mark.parametrize("text", ["", "tnl_", "01AbC", "tnl_a/b", UUID[:-1], "tnl_x y"])
def test_what_is_no_tunnel_id(text):
    with pytest.raises(TunnelError, match="mcp_tunnel_id: is neither a tunnel ID"):
        check_tunnel_id(text, "mcp_tunnel_id")
