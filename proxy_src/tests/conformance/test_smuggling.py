"""Request smuggling: bytes on which two servers could disagree, through a running proxy.

``requests.yaml`` and ``responses.yaml`` are the tables. A strict reader and the parsers of common
upstreams read everything that reaches an upstream, and all must read the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import h11
import hpack
import judges
import pytest
import pytest_asyncio
from bridge import TunnelBridge
from fakes import FakeConnection, Requests
from mcp_proxy.config.model import Limits
from mcp_proxy.http1.server import Http1Server
from running import DOMAIN, PATIENCE, RunningProxy, running_proxy
from tables import Case, as_bytes, cases, rows
from tunnelled import answer, get, raw_client
from upstreams import all_options, plain_answer, raw_upstream, read_head
from wire import Incomplete, WireRequest, read_requests

pytestmark = pytest.mark.asyncio(loop_scope="module")

HTTP2_HEAD = (
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":authority", b"echo." + DOMAIN.encode()),
    (b":path", b"/"),
)
#: Whether the routes have options. With them, nearly all is as without.
PLAIN_AND_OPTIONS = (False, pytest.param(True, marks=pytest.mark.exhaustive))
SENTINEL = get("echo", "/sentinel", "Connection: close")


class Capture:
    """The upstream: remembers the bytes of each connection separately."""

    def __init__(self) -> None:
        self._connections: list[tuple[asyncio.StreamWriter, bytearray]] = []
        self.arrived = asyncio.Event()

    def opened(self, writer: asyncio.StreamWriter) -> Callable[[bytes], None]:
        """Note a new connection; return the function that takes its bytes."""
        received = bytearray()
        self._connections.append((writer, received))

        def note(data: bytes) -> None:
            received.extend(data)
            self.arrived.set()

        return note

    def restart(self) -> None:
        """Forget all bytes, and close all connections."""
        for writer, _ in self._connections:
            writer.transport.abort()
        self._connections.clear()
        self.arrived.clear()

    def received(self) -> list[bytes]:
        """The bytes of each connection on which any came."""
        return [bytes(received) for _, received in self._connections if received]


class Replay:
    """The upstream that answers as a table says: the given bytes, then the end or nothing."""

    def __init__(self) -> None:
        self.case = Case(b"")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line, _ = await read_head(reader)
            target = line.split(" ")[1]
            if target != "/bad":
                writer.write(plain_answer(target.encode()))
                continue
            writer.write(self.case.data)
            if self.case.expected.get("end"):
                return  # which closes the connection


@dataclass(frozen=True)
class Stage:
    """The servers and connections that the tests of this module share."""

    proxy: RunningProxy
    capture: Capture
    replay: Replay
    judges: dict[str, int]
    bridge: int
    probe: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    has_options: bool

    def lacks(self, expected: dict[str, Any], sent: str) -> list[str]:
        """What the upstream was to get, of a case of a table, and what it has not been *sent*."""
        wanted = expected.get("has", [])
        if self.has_options:  # rewrite_host
            wanted = [text for text in wanted if not text.startswith("\r\nhost: ")]
        return [text for text in wanted if text not in sent]

    @contextlib.asynccontextmanager
    async def client(
        self, route: str = "echo", *alpn: str
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection to the proxy on which the test writes HTTP by itself."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.bridge,
            ssl=self.proxy.client_tls(*alpn),
            server_hostname=f"{route}.{DOMAIN}",
        )
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def probed(self, route: str, *targets: str) -> list[bytes]:
        """Return the answers that an uninvolved client gets for *targets*."""
        reader, writer = self.probe
        found = []
        for target in targets:
            writer.write(get(route, target))
            found.append((await answer(reader))[2])
        return found


@pytest_asyncio.fixture(
    loop_scope="module", scope="module", params=PLAIN_AND_OPTIONS, ids=["plain", "options"]
)
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    capture, replay = Capture(), Replay()
    home = tmp_path_factory.mktemp("proxy")
    tls, options = all_options(home) if request.param else (None, {})
    scheme = "https" if request.param else "http"
    async with contextlib.AsyncExitStack() as stack:
        ports = [
            await stack.enter_async_context(raw_upstream(handler, tls))
            for handler in (judges.read_with_h11(capture.opened), replay.serve)
        ]
        routes = {
            "echo": f"{scheme}://127.0.0.1:{ports[0]}",
            "victim": f"{scheme}://127.0.0.1:{ports[0]}",
            "replay": f"{scheme}://127.0.0.1:{ports[1]}",
        }
        proxy = await stack.enter_async_context(
            running_proxy(home, routes, route_options=dict.fromkeys(routes, options))
        )
        yield Stage(
            proxy,
            capture,
            replay,
            await stack.enter_async_context(judges.judges()),
            await stack.enter_async_context(TunnelBridge(proxy.port)),
            await stack.enter_async_context(raw_client(proxy)),
            request.param,
        )


async def converse(stage: Stage, data: bytes, leave: bool) -> bytes:
    """Everything that a client gets for *data*; it may *leave* once something went upstream."""
    async with stage.client() as (reader, writer):
        writer.write(data)
        if leave:
            await writer.drain()
            if b"\r\n\r\n" in data:
                await stage.capture.arrived.wait()
            writer.close()
        return await asyncio.wait_for(reader.read(), PATIENCE)


def answers(data: bytes) -> list[str | int]:
    """The final answers in *data*: the upstream's description of the request, or the status."""
    found: list[str | int] = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
        assert status is not None, head
        assert end, head
        if status[1].startswith(b"1"):
            continue
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        assert length is not None, head
        body = b""
        if not data.startswith(b"HTTP/1.1 "):  # as it does behind an answer to HEAD
            body, data = data[: int(length[1])], data[int(length[1]) :]
        description = re.fullmatch("<<(.*)>>", body.decode("latin-1"))
        found.append(description[1] if description else int(status[1]))
    return found


def described(request: WireRequest) -> str:
    method, target = request.method.decode("latin-1"), request.target.decode("latin-1")
    return judges.described(method, target, request.body)


def understood(connections: list[bytes], partial: bool) -> tuple[list[str], list[bytes]]:
    """The requests on all *connections*, and the connections on which all are complete."""
    requests, whole = [], []
    for data in connections:
        try:
            requests += [described(request) for request in read_requests(data)]
        except Incomplete:
            assert partial, data
        else:
            whole.append(data)
    return requests, whole


@pytest.mark.parametrize("case", cases("requests"))
async def test_request(stage: Stage, case: Case) -> None:
    expected = case.expected
    leave = expected.get("end") == "eof"
    stage.capture.restart()
    if stage.has_options and "options" in expected:
        async with stage.client() as (reader, writer):
            writer.write(case.data)
            first = await asyncio.wait_for(reader.readline(), PATIENCE)
        assert int(first.split()[1]) == expected["options"]
        assert stage.capture.received() == []
        return
    got = answers(await converse(stage, case.data + (b"" if leave else SENTINEL), leave))

    if "refused" in expected:
        wanted = [expected["refused"]]
    elif "passed" in expected:
        wanted = [*expected["passed"], "GET /sentinel "]
    else:
        wanted = expected["answers"]
    assert got == wanted, stage.proxy.transcript()[-1000:]

    # The next client is not affected, although it may get the same upstream connection.
    assert await stage.probed("echo", "/probe") == [b"<<GET /probe >>"]

    connections = stage.capture.received()
    requests, whole = understood(connections, expected.get("partial", False))
    passed = expected.get("upstream", [text for text in wanted if isinstance(text, str)])
    if "upstream" in expected:
        passed = [*passed, "GET /sentinel "]
    assert sorted(requests) == sorted([*passed, "GET /probe "])

    sent = b"".join(connections).partition(b"GET /sentinel ")[0].lower().decode("latin-1")
    assert stage.lacks(expected, sent) == []
    assert [text for text in expected.get("lacks", []) if text in sent] == []

    for data in whole:
        await judged(stage, data, expected)


async def judged(stage: Stage, data: bytes, expected: dict[str, Any]) -> None:
    """All judges read *data* as the strict reader does, except where the table says otherwise."""
    # An answer to HEAD has no place for a description.
    wanted = [text for text in map(described, read_requests(data)) if not text.startswith("HEAD ")]
    wanted.append(judges.LAST)
    names = list(stage.judges)
    read = await asyncio.gather(*(judges.readings(stage.judges[name], data) for name in names))
    for name, got in zip(names, read):
        if name in expected.get("lax", []):
            assert len(got) == len(wanted), name
        elif name in expected.get("strict", []):
            assert got == [text for text in wanted if text in got], name
        else:
            assert got == wanted, name


@pytest.mark.parametrize("case", cases("responses"))
async def test_response(stage: Stage, case: Case) -> None:
    stage.replay.case = case
    expected = case.expected
    method = expected.get("method", "GET")
    bad = get("replay", "/bad").replace(b"GET", method.encode(), 1)
    async with stage.client("replay") as (reader, writer):
        writer.write(bad + get("replay", "/next", "Connection: close"))
        got = taken(await asyncio.wait_for(reader.read(), PATIENCE), method, "GET")

    if expected["gets"] == "cut":
        assert got == ["cut"], stage.proxy.transcript()[-1000:]
    else:
        first = expected["gets"]
        if first == 502:
            first = [502, "Upstream closed the connection or sent no valid answer\n"]
        assert got == [(first[0], first[1]), (200, "/next")], stage.proxy.transcript()[-1000:]

    assert await stage.probed("replay", "/a", "/b") == [b"/a", b"/b"]


def taken(data: bytes, *methods: str) -> list[tuple[int, str] | str]:
    """The responses to *methods* in *data* as h11 reads them, up to one that is ``cut`` short."""
    found: list[tuple[int, str] | str] = []
    client = h11.Connection(h11.CLIENT)
    client.receive_data(data)
    client.receive_data(b"")
    for method in methods:
        client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        status, body = 0, b""
        try:
            while not isinstance(event := client.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
        except h11.RemoteProtocolError:
            return [*found, "cut"]
        found.append((status, body.decode("latin-1")))
        if client.their_state is not h11.DONE:
            break
        client.start_next_cycle()
    return found


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name, case in rows("requests-h2")]
)
async def test_request_over_http2(stage: Stage, case: dict[str, Any]) -> None:
    stage.capture.restart()
    got = await ask_over_http2(stage, case)
    assert await stage.probed("echo", "/probe") == [b"<<GET /probe >>"]
    gets = case.get("options", case["gets"]) if stage.has_options else case["gets"]
    assert got == gets, stage.proxy.transcript()[-1000:]
    connections = stage.capture.received()
    requests, whole = understood(connections, partial=gets == "reset")
    passed = [gets] if str(gets).startswith("POST ") else []
    assert requests == [*passed, "GET /probe "]
    sent = b"".join(connections).partition(b"GET /probe ")[0].lower().decode("latin-1")
    assert stage.lacks(case, sent) == []
    assert [text for text in case.get("lacks", []) if text in sent] == []
    for data in whole:
        await judged(stage, data, {})


async def ask_over_http2(stage: Stage, case: dict[str, Any]) -> str | int:
    """The outcome of the request *case*: what the upstream read of it, the status, or a reset."""
    before, given = (
        [(as_bytes(name), as_bytes(value)) for name, value in case.get(key, [])]
        for key in ("before", "fields")
    )
    left_out = {name for name, _ in given} | {name.encode() for name in case.get("without", [])}
    pseudo = [pair for pair in HTTP2_HEAD if pair[0] not in left_out]
    pseudo += [pair for pair in given if pair[0].startswith(b":")]
    fields = before + pseudo + [pair for pair in given if not pair[0].startswith(b":")]
    # Literals without an index or a Huffman code: the library would put the names in order.
    block = b"".join(b"\0" + _string(name) + _string(value) for name, value in fields)
    body = case.get("body")
    wire = h2_frame(4, 0, 0, b"") + h2_frame(1, 4 if body else 5, 1, block)
    if body:
        wire += h2_frame(0, 1, 1, as_bytes(body))
    async with stage.client("echo", "h2") as (reader, writer):
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + wire)
        return await asyncio.wait_for(_answer_over_http2(reader), PATIENCE)


async def _answer_over_http2(reader: asyncio.StreamReader) -> str | int:
    decoder, status, content = hpack.Decoder(), 0, b""
    while True:
        try:
            head = await reader.readexactly(9)
        except asyncio.IncompleteReadError:
            return "reset"
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        kind, flags = head[3], head[4]
        if kind in (3, 7):  # RST_STREAM, GOAWAY
            return "reset"
        if kind == 1:
            status = int(dict(decoder.decode(payload))[":status"])
        elif kind == 0:
            content += payload
        if kind in (0, 1) and flags & 1:
            description = re.fullmatch("<<(.*)>>", content.decode("latin-1"))
            return description[1] if description else status


def _string(text: bytes) -> bytes:
    """RFC 7541 §5.2."""
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest = len(text) - 127
    return bytes((127, rest & 127 | 128, rest >> 7 & 127 | 128, rest >> 14)) + text


def h2_frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    """RFC 9113 §4.1."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big")
    return head + payload


@pytest.mark.parametrize("case", cases("requests"))
async def test_request_in_pieces(case: Case) -> None:
    """A request cut anywhere is read as if it were whole."""

    def read(pieces: list[bytes]) -> tuple[list[Any], bytes]:
        requests = Requests(answer=b"ok")
        server = Http1Server(requests, FakeConnection(), Limits())
        output = b""
        for piece in pieces:
            server.receive(piece)
            output += b"".join(server.output())
        heads = [(item.head, item.body, item.trailers) for item in requests]
        return heads, output

    data = case.data[:4000] + SENTINEL
    assert read([data[i : i + 1] for i in range(len(data))]) == read([data])
