"""The option ``paths`` of a route: its upstream sees no path that is not in the list.

``paths.yaml`` has the targets; :mod:`path_readings` says what upstreams may see in one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import hpack
import pytest
import pytest_asyncio
import yaml
from bridge import TunnelBridge
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp_proxy.http.paths import Prefixes, has_one_meaning
from path_readings import outside, readings
from running import DOMAIN, PATIENCE, RunningProxy, running_proxy
from upstreams import all_options, plain_answer, raw_upstream

ALLOWED = ("/mcp", "/.well-known/oauth-protected-resource", "/a/b")
ALLOWED_BYTES = tuple(path.encode() for path in ALLOWED)
STATUS = {"passed": 200, "outside": 404, "ambiguous": 400}
HOST = f"echo.{DOMAIN}".encode()
FORMS = {"origin": b"", "absolute": b"https://" + HOST, "of-http": b"HTTP://" + HOST, "http2": b""}


def table() -> list[tuple[bytes, int]]:
    """The targets of ``paths.yaml``, and the status for each."""
    groups = yaml.safe_load(Path(__file__).with_name("paths.yaml").read_text())
    assert groups.keys() == STATUS.keys()
    return [
        (target.encode("latin-1"), STATUS[group])
        for group, targets in groups.items()
        for target in targets
    ]


@dataclass
class Stage:
    """The proxy, and the targets that its upstream has got."""

    proxy: RunningProxy
    bridge: int
    seen: list[bytes]

    @contextlib.asynccontextmanager
    async def client(
        self, alpn: str
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection to the proxy on which the test writes HTTP by itself."""
        tls = self.proxy.client_tls(alpn)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.bridge, ssl=tls, server_hostname=HOST.decode()
        )
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def ask(self, target: bytes, *fields: bytes, method: bytes = b"GET") -> int:
        """The status of the answer to an HTTP/1.1 request for *target*."""
        lines = (method + b" " + target + b" HTTP/1.1", b"Host: " + HOST, *fields, b"", b"")
        self.seen.clear()
        async with self.client("http/1.1") as (reader, writer):
            writer.write(b"\r\n".join(lines))
            return int((await asyncio.wait_for(reader.readline(), PATIENCE)).split()[1])

    async def ask_over_http2(self, target: bytes, *more: tuple[bytes, bytes]) -> int | str:
        """The same over HTTP/2; ``reset`` if the stream or the connection was ended."""
        pseudo = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", HOST))
        fields = (*pseudo, (b":path", target), *more)
        block = b"".join(b"\0" + _string(name) + _string(value) for name, value in fields)
        self.seen.clear()
        async with self.client("h2") as (reader, writer):
            wire = _frame(4, 0, 0, b"") + _frame(1, 5, 1, block)
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + wire)
            return await asyncio.wait_for(_status(reader), PATIENCE)


def _string(text: bytes) -> bytes:
    """RFC 7541 §5.2."""
    assert len(text) < 127
    return bytes((len(text),)) + text


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    """RFC 9113 §4.1."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big")
    return head + payload


async def _status(reader: asyncio.StreamReader) -> int | str:
    decoder = hpack.Decoder()
    while True:
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        if head[3] in (3, 7):  # RST_STREAM, GOAWAY
            return "reset"
        if head[3] == 1:
            return int(dict(decoder.decode(payload))[":status"])


@pytest_asyncio.fixture(
    loop_scope="module",
    scope="module",
    params=[False, pytest.param(True, marks=pytest.mark.exhaustive)],
    ids=["paths", "options"],
)
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    seen: list[bytes] = []
    home = tmp_path_factory.mktemp("proxy")
    tls, more = all_options(home) if request.param else (None, {})
    scheme = "https" if request.param else "http"

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            seen.append(head.split(b" ", 2)[1])
            writer.write(plain_answer(b""))

    async with raw_upstream(upstream, tls) as port:
        routes = dict.fromkeys(("echo", "open"), f"{scheme}://127.0.0.1:{port}")
        options = {
            "echo": {**more, "paths": list(ALLOWED)},
            "open": {name: value for name, value in more.items() if name != "methods"},
        }
        async with (
            running_proxy(home, routes, route_options=options) as proxy,
            TunnelBridge(proxy.port) as bridge,
        ):
            yield Stage(proxy, bridge, seen)


def test_the_table_is_as_long_as_it_has_to_be() -> None:
    targets = [target for target, _status in table()]
    assert len(set(targets)) == len(targets) >= 150


def test_the_judge_knows_the_table() -> None:
    """It finds readings outside the list, and none for what is passed."""
    for target, status in table():
        found = outside(target, ALLOWED_BYTES)
        if status == 200:
            assert found == set(), target
    for target in (b"/mcp/..;x/admin", b"/mcp/%252e%252e/admin", b"/mcp/%c0%ae./admin"):
        assert b"/admin" in readings(target)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("form", FORMS)
async def test_a_path(stage: Stage, form: str) -> None:
    wrong = []
    for target, expected in table():
        if form == "http2":
            got = await stage.ask_over_http2(target)
        else:
            got = await stage.ask(FORMS[form] + target)
        if got != expected or stage.seen != [target][: expected == 200]:
            wrong.append((target, got, expected, list(stage.seen)))
        for path in stage.seen:
            assert outside(path, ALLOWED_BYTES) == set(), path
    assert wrong == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"https://" + HOST, 404),
        (b"https://" + HOST + b"?/mcp", 404),
        (b"https://" + HOST + b"/mcp", 200),
        (b"https://" + HOST + b"#/mcp", 400),
        (b"https://" + HOST + b"\\..\\mcp", 400),
        (b"https://open." + DOMAIN.encode() + b"/admin", 200),
        (b"https://open." + DOMAIN.encode() + b"/mcp/../admin", 200),
        (b"https://nowhere.example/mcp", 502),
        (b"https://x@" + HOST + b"/mcp", 400),
        (b"/mcp#/../admin", 200),
        (b"/admin#/mcp", 404),
        (b"mcp", 400),
        (b"ftp://" + HOST + b"/mcp", 400),
        (b"https:/mcp", 400),
    ],
)
async def test_a_target_of_another_form(stage: Stage, target: bytes, expected: int) -> None:
    assert await stage.ask(target) == expected
    assert len(stage.seen) == (expected == 200)


@pytest.mark.asyncio(loop_scope="module")
async def test_no_path_at_all(stage: Stage) -> None:
    assert await stage.ask(b"*", method=b"OPTIONS") == 404
    assert stage.seen == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ((b":path", b"/mcp"), "reset"),
        ((b":path", b"/admin"), "reset"),
        ((b"x-original-url", b"/admin"), 400),
        ((b"x", b"y"), 200),
    ],
)
async def test_fields_beside_the_path_over_http2(
    stage: Stage, more: tuple[bytes, bytes], expected: int | str
) -> None:
    assert await stage.ask_over_http2(b"/mcp", more) == expected
    assert stage.seen == [b"/mcp"][: expected == 200]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "name",
    [
        *("X-Original-URL", "x-rewrite-url", "X_Original_Url", "X-HTTP-Method-Override"),
        # Gunicorn and others take them into the environment of an application (PEP 3333).
        *("SCRIPT_NAME", "script-name", "Script_Name", "PATH_INFO", "path-info"),
        *("X-Script-Name", "x_script_name", "X-Original-URI", "X_ORIGINAL_URI"),
    ],
)
async def test_fields_that_replace_the_path(stage: Stage, name: str) -> None:
    field = name.encode() + b": /mcp"
    assert await stage.ask(b"/mcp/admin", field) == 400
    assert stage.seen == []
    assert await stage.ask(b"https://open." + DOMAIN.encode() + b"/mcp/admin", field) == 200


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", [b"Destination", b"destination"])
async def test_a_field_that_names_a_second_path(stage: Stage, name: bytes) -> None:
    """RFC 4918 §10.3: a server of WebDAV moves or copies there what the path has."""
    for method in (b"MOVE", b"COPY"):
        field = name + b": https://" + HOST + b"/admin"
        assert await stage.ask(b"/mcp/a", field, method=method) == 400
        assert stage.seen == []
        target = b"https://open." + DOMAIN.encode() + b"/mcp/a"
        assert await stage.ask(target, field, method=method) == 200


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("target", "expected"), [(b"/mcp/ws", 200), (b"/ws", 404)])
async def test_an_upgrade(stage: Stage, target: bytes, expected: int) -> None:
    wish = (b"Connection: Upgrade", b"Upgrade: websocket")
    assert await stage.ask(target, *wish) == expected  # this upstream knows no WebSocket
    assert stage.seen == [target][: expected == 200]


PARTS = [
    *("mcp", "admin", "a", "b", ".", "..", "/", "//", ";", "\\", "%", "?", "#", " ", ":", "~"),
    *("%2e", "%2E", "%2f", "%5c", "%25", "%252e", "%00", "%20", "%09", "%3b", "%3f", "%23", "%6d"),
    *("%c0%ae", "%c0%af", "%ae", "%af", "%u002e", "%ef%bc%8e", "%ef%bc%8f", "\u00ae", "\u00af"),
]


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=9))
def test_any_path(parts: list[str]) -> None:
    """Nothing that is let through can be read as a path outside the list."""
    for front in ("/", "/mcp", "/mcp/"):
        target = (front + "".join(parts)).encode("latin-1")
        if has_one_meaning(target) and target in Prefixes(ALLOWED):
            assert outside(target, ALLOWED_BYTES) == set(), target
