from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from mcp_proxy.config.model import Address
from mcp_proxy.watch import admin
from mcp_proxy.watch.admin import AdminServer
from running import PATIENCE, becomes


class Running:
    def __init__(self) -> None:
        self.reason = ""
        self.pages = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.server = AdminServer(Address("127.0.0.1", 0), self.page, lambda: self.reason)
        self.port = 0

    async def page(self) -> bytes:
        self.pages += 1
        await self.goes_on.wait()
        return b"up 1\n"

    async def raw(self, request: bytes) -> bytes:
        """Everything that comes back for *request* until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        try:
            return await asyncio.wait_for(reader.read(), PATIENCE)
        except ConnectionResetError:
            return b""
        finally:
            writer.transport.abort()

    async def get(self, path: str, method: str = "GET") -> tuple[int, str, str]:
        def fetch() -> tuple[int, str, str]:
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                    return answer.status, answer.headers["Content-Type"], answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.headers["Content-Type"], error.read().decode()

        return await asyncio.get_running_loop().run_in_executor(None, fetch)


@pytest_asyncio.fixture
async def running() -> AsyncIterator[Running]:
    here = Running()
    here.port = await here.server.start()
    yield here
    here.server.close()
    await asyncio.sleep(0)


async def test_health_is_always_ok(running: Running) -> None:
    running.reason = "starting"
    assert await running.get("/healthz") == (200, "text/plain; charset=utf-8", "ok\n")


async def test_readiness_gives_the_reason(running: Running) -> None:
    assert (await running.get("/readyz"))[0] == 200
    running.reason = "stopping"
    assert await running.get("/readyz?verbose") == (503, "text/plain; charset=utf-8", "stopping\n")


async def test_metrics_can_be_scraped(running: Running) -> None:
    kind = "text/plain; version=0.0.4; charset=utf-8"
    assert await running.get("/metrics") == (200, kind, "up 1\n")


async def test_what_is_not_there(running: Running) -> None:
    assert (await running.get("/"))[0] == 404
    assert (await running.get("/metrics/x"))[0] == 404
    assert (await running.get("/healthz", "POST"))[0] == 405
    assert await running.get("/healthz", "HEAD") == (200, "text/plain; charset=utf-8", "")


@pytest.mark.parametrize(
    "request_head",
    [
        b"nonsense\r\n\r\n",
        b"\r\n\r\n",
        b"GET  /healthz HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 9000,
        b"\x16\x03\x01\x02\x00\r\n\r\n",
    ],
)
async def test_nonsense_is_a_bad_request(running: Running, request_head: bytes) -> None:
    answer = await running.raw(request_head)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert (await running.get("/healthz"))[0] == 200


async def test_a_slow_client_is_dropped(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "_TIMEOUT", 0.05)
    assert await running.raw(b"GET /healthz HTTP/1.1\r\n") == b""


async def silent(port: int, request: bytes = b"") -> asyncio.StreamWriter:
    """A client that has sent *request*, and does nothing more."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    return writer


@pytest.mark.parametrize("request_head", [b"", b"GET /healthz HTTP/1.1\r\n"])
async def test_silent_clients_keep_nobody_out(running: Running, request_head: bytes) -> None:
    """With more of them than there is room for, those that came first make room."""
    held = [await silent(running.port, request_head) for _ in range(admin._MAX_CLIENTS + 40)]
    for _ in range(3):
        assert (await running.get("/healthz"))[0] == 200
        assert (await running.get("/metrics"))[0] == 200
    assert len(running.server._clients) <= admin._MAX_CLIENTS
    for writer in held:
        writer.transport.abort()
    await eventually(lambda: not running.server._clients)


async def test_clients_that_read_nothing_keep_nobody_out(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "_MAX_CLIENTS", 4)
    content = b"x" * (1 << 24)  # more than the kernel keeps

    async def page() -> bytes:
        return content

    running.server._metrics = page
    held = []
    for _ in range(8):
        held.append(await silent(running.port, b"GET /metrics HTTP/1.1\r\n\r\n"))
        held[-1].transport.pause_reading()
        assert (await running.get("/healthz"))[0] == 200
    assert len((await running.get("/metrics"))[2]) == len(content)
    assert len(running.server._clients) <= 4
    for writer in held:
        writer.transport.abort()


async def test_a_page_is_made_once_for_all_who_wait(running: Running) -> None:
    running.goes_on.clear()
    first = asyncio.ensure_future(running.get("/metrics"))
    await eventually(lambda: running.pages == 1)
    others = [asyncio.ensure_future(running.get("/metrics")) for _ in range(5)]
    await eventually(lambda: running.server._waiting == 6)
    running.goes_on.set()
    for asked in (first, *others):
        assert (await asked)[2] == "up 1\n"
    # The others may have come after something that the first page has not seen.
    assert running.pages == 2


async def test_those_who_wait_for_metrics_are_bounded(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "_MAX_WAITING", 2)
    monkeypatch.setattr(admin, "_MAX_CLIENTS", 2)
    running.goes_on.clear()
    waiting = [asyncio.ensure_future(running.get("/metrics")) for _ in range(2)]
    await eventually(lambda: running.server._waiting == 2)
    held = [await silent(running.port) for _ in range(5)]
    status, _, said = await running.get("/metrics")
    assert (status, said) == (503, "too many ask for metrics at a time\n")
    assert (await running.get("/readyz"))[0] == 200
    running.goes_on.set()
    for asked in waiting:
        assert (await asked)[0] == 200
    for writer in held:
        writer.transport.abort()


async def eventually(condition: Callable[[], bool]) -> None:
    async def met() -> bool:
        return condition()

    await becomes(True, met)
