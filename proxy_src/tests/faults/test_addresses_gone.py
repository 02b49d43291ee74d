"""A name with several addresses, of which one does not answer, or comes back, or is replaced."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from name_server import addresses, name_server
from namespace import Namespace, own_network
from running import RunningProxy, running_proxy
from tunnelled import answer, get, raw_client
from upstreams import plain_answer, read_head

A, B = "10.0.0.5", "10.0.0.6"
HOSTS = "127.0.0.1 localhost\n"
PORT = 8000
# So long that a call which waits for it is none that ends.
PATIENT = {"connect": "1h", "upstream_idle": "1h"}


@pytest.fixture
def network() -> Iterator[Namespace]:
    with own_network(A, B) as made:
        yield made


async def which(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with the address that the connection was made to."""
    address = writer.get_extra_info("sockname")[0].encode()
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            line, _ = await read_head(reader)
            last = "/last" in line
            writer.write(plain_answer(address, *([b"Connection: close"] if last else [])))
            if last:
                break
    writer.close()


@contextlib.asynccontextmanager
async def proxy_of(
    network: Namespace, home: Path, zone: Any, **settings: Any
) -> AsyncIterator[RunningProxy]:
    listener = await asyncio.start_server(which, "0.0.0.0", PORT)
    try:
        async with (
            name_server(zone),
            running_proxy(
                home,
                {"kept": f"http://a.test:{PORT}", "spread": f"http://b.test:{PORT}"},
                through=network.resolver(home, HOSTS),
                route_options={"spread": {"spread": True}},
                upstream={},
                timeouts={**PATIENT, **settings},
            ) as proxy,
        ):
            yield proxy
    finally:
        listener.close()


async def ask(proxy: RunningProxy, route: str, path: str = "/last") -> str:
    """The address that served a request for *route*."""
    async with raw_client(proxy, route) as (reader, writer):
        writer.write(get(route, path))
        status, _, body = await answer(reader)
        assert status == 200, body
        return body.decode()


async def ask_until(proxy: RunningProxy, route: str, wanted: set[str], path: str) -> list[str]:
    """Ask until all of *wanted* have answered; return the answers."""
    answers: list[str] = []
    while not wanted <= set(answers):
        answers.append(await ask(proxy, route, path))
    return answers


def both() -> dict[str, Any]:
    return {"a.test": [addresses(A, B)], "b.test": [addresses(A, B)]}


@pytest.mark.parametrize("route", ["kept", "spread"])
async def test_no_call_waits_for_an_address_that_does_not_answer(
    network: Namespace, tmp_path: Path, route: str
) -> None:
    async with proxy_of(network, tmp_path, both()) as proxy:
        network.silence(A)
        assert [await ask(proxy, route) for _ in range(10)] == [B] * 10
        line = await proxy.logged("upstream address set aside", address=A)
        assert line["reason"] == "does not answer"


async def test_one_that_comes_back_is_used_again(network: Namespace, tmp_path: Path) -> None:
    async with proxy_of(network, tmp_path, both()) as proxy:
        network.silence(A)
        assert await ask(proxy, "spread") == B
        network.end_silence()
        await ask_until(proxy, "spread", {A}, "/last")
        assert await ask(proxy, "kept") == A
        network.silence(A)
        assert await ask(proxy, "kept") == B
        network.end_silence()
        network.silence(B)
        assert await ask(proxy, "kept") == A


async def test_open_connections_take_turns(network: Namespace, tmp_path: Path) -> None:
    async with proxy_of(network, tmp_path, both()) as proxy:
        await ask_until(proxy, "spread", {A, B}, "/")
        await ask_until(proxy, "spread", {A, B}, "/")
        assert [await ask(proxy, "kept", "/") for _ in range(4)] == [A] * 4


async def test_a_name_that_moves_is_followed(network: Namespace, tmp_path: Path) -> None:
    """All the time there is a connection that could be used once more."""
    zone = {"a.test": [addresses(A), addresses(B)]}
    async with proxy_of(network, tmp_path, zone, upstream_age="300ms") as proxy:
        assert await ask(proxy, "kept", "/") == A
        await ask_until(proxy, "kept", {B}, "/")


async def test_without_an_age_the_connection_stays(network: Namespace, tmp_path: Path) -> None:
    zone = {"a.test": [addresses(A), addresses(B)]}
    async with proxy_of(network, tmp_path, zone) as proxy:
        assert [await ask(proxy, "kept", "/") for _ in range(10)] == [A] * 10
