"""The fields of MCP in a request: which of the client's words are shown, and how many at most."""

from __future__ import annotations

import importlib
import typing
from typing import Any

import pytest
from exposed import samples
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.http.mcp_message import METHODS, McpNames
from mcp_proxy.watch.metrics import Metrics

NAMES = McpNames(["search", "wiki.page_create"])


def fields(method: bytes | None, name: bytes | None = None) -> list[tuple[bytes, bytes]]:
    found = [(b"Accept", b"application/json"), (b"X-Method-2", b"tools/call")]
    if method is not None:
        found.append((b"Mcp-Method", method))
    if name is not None:
        found.append((b"mcp-name", name))
    return found


@pytest.mark.parametrize(
    ("method", "name", "shown"),
    [
        (b"tools/list", None, ("tools/list", "")),
        (b"tools/call", b"search", ("tools/call", "search")),
        (b"tools/call", b"wiki.page_create", ("tools/call", "wiki.page_create")),
        (b"tools/call", b"Search", ("tools/call", "other")),
        (b"tools/call", b"=?base64?c2VhcmNo?=", ("tools/call", "other")),
        (b"tools/call", b"", ("tools/call", "other")),
        (b"tools/call", None, ("tools/call", "")),
        # The names of prompts and resources are not those of tools.
        (b"prompts/get", b"search", ("prompts/get", "")),
        (b"resources/read", b"file:///etc/passwd", ("resources/read", "")),
        (b"Tools/Call", b"search", ("other", "")),
        (b"tools/call\xff", b"search", ("other", "")),
        (b"", None, ("other", "")),
        (b"other", None, ("other", "")),
    ],
)
def test_what_is_shown(method: bytes, name: bytes | None, shown: tuple[str, str]) -> None:
    assert NAMES.message(fields(method, name)) == shown


def test_nothing_is_shown_of_a_client_that_says_nothing() -> None:
    assert NAMES.message(fields(None)) is None
    assert NAMES.message(fields(None, b"search")) is None


def test_no_tool_is_shown_that_nobody_has_named() -> None:
    assert McpNames().message(fields(b"tools/call", b"search")) == ("tools/call", "other")


def literals(kind: Any) -> set[str]:
    """The methods in a union of pydantic's models."""
    if typing.get_origin(kind) is typing.Annotated:
        return literals(typing.get_args(kind)[0])
    if hasattr(kind, "model_fields"):
        inner = kind.model_fields
        if "method" in inner:
            return set(typing.get_args(inner["method"].annotation))
        return literals(inner["root"].annotation)
    return set().union(*map(literals, typing.get_args(kind)))


def test_the_methods_are_those_of_the_specification() -> None:
    """As the package ``mcp`` has them, made from the schemas of both revisions in the field."""
    found: set[str] = set()
    for revision in ("_v2025_11_25", "_v2026_07_28"):
        schema = importlib.import_module(f"mcp_types.{revision}")
        for union in (schema.ClientRequest, schema.ClientNotification):
            found |= literals(getattr(union, "__value__", union))
    assert len(found) > 20
    assert found == METHODS


VALUES = st.binary(max_size=40) | st.sampled_from(
    [*(method.encode() for method in sorted(METHODS)), b"search", b"other", b"*"]
)


@given(st.lists(st.tuples(VALUES, st.none() | VALUES), max_size=300))
def test_no_client_makes_series(said: list[tuple[bytes, bytes | None]]) -> None:
    """However many methods and names it makes up: those of the page are known beforehand."""
    metrics = Metrics()
    for method, name in said:
        message = NAMES.message(fields(method, name))
        assert message is not None
        metrics.request_started("echo")
        metrics.mcp_request_finished("echo", message, 0.5)
    known = {(method, "") for method in {*METHODS, "other"}}
    known |= {("tools/call", tool) for tool in ("search", "wiki.page_create", "other")}
    seen = {
        (dict(labels)["method"], dict(labels)["tool"]): value
        for (name, labels), value in samples(metrics).items()
        if name == "mcp_proxy_mcp_requests_total"
    }
    assert seen.keys() <= known
    assert sum(seen.values()) == len(said)
