"""Address validation at dial time: names resolved, addresses refused, and addresses dialled."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
from ipaddress import IPv4Network
from typing import Any
from unittest import mock

import pytest
import uvloop
from mcp_proxy.config.model import Upstream, UpstreamPolicy
from mcp_proxy.upstream.dial import Dialer, DialError
from mcp_proxy.upstream.tls import UpstreamTls

LOOPBACK = (IPv4Network("127.0.0.0/8"),)


class Network:
    """Replaces name resolution and connecting; remembers both."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.addresses = addresses
        self.lookups: list[tuple[Any, ...]] = []
        self.dialled: list[str] = []
        self.refusing: set[str] = set()
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(socket, "getaddrinfo", self.getaddrinfo)
        monkeypatch.setattr(loop, "create_connection", self.create_connection)

    def getaddrinfo(self, host: str, port: int | None, **options: Any) -> list[Any]:
        self.lookups.append((host, port, options["family"]))
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in self.addresses]

    async def create_connection(self, factory: Any, host: str, port: int, **options: Any) -> Any:
        self.dialled.append(host)
        if host in self.refusing:
            raise ConnectionRefusedError(111, "refused")
        return mock.Mock(**{"is_closing.return_value": False}), factory()


async def dial(policy: UpstreamPolicy, host: str = "mcp.lan") -> None:
    await Dialer(policy, 1.0).connect(Upstream("http", host, 8000), asyncio.BufferedProtocol)


@pytest.mark.parametrize("address", ["10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.9.9"])
async def test_private_addresses_are_dialled(monkeypatch: Any, address: str) -> None:
    network = Network(monkeypatch, address)
    await dial(UpstreamPolicy())
    assert network.dialled == [address]
    assert network.lookups == [("mcp.lan", None, socket.AF_INET)]


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "127.0.0.1",
        "0.0.0.0",
        "8.8.8.8",
        "172.32.0.1",
        "192.169.0.1",
        "100.64.0.1",
        "255.255.255.255",
        "224.0.0.1",
    ],
)
async def test_other_addresses_are_refused(monkeypatch: Any, address: str) -> None:
    network = Network(monkeypatch, address)
    with pytest.raises(DialError) as caught:
        await dial(UpstreamPolicy())
    assert str(caught.value) == f"IP validation failed: {address} is not a private address"
    assert (caught.value.status, caught.value.reason) == (502, "validation")
    assert network.dialled == []


@pytest.mark.parametrize("addresses", [("10.0.0.1", "8.8.8.8"), ("8.8.8.8", "10.0.0.1")])
async def test_one_bad_address_spoils_the_name(monkeypatch: Any, addresses: Any) -> None:
    network = Network(monkeypatch, *addresses)
    with pytest.raises(DialError, match=r"8\.8\.8\.8 is not a private address"):
        await dial(UpstreamPolicy())
    assert network.dialled == []


async def test_allowed_ips_replace_the_default(monkeypatch: Any) -> None:
    network = Network(monkeypatch, "10.0.0.1")
    with pytest.raises(DialError):
        await dial(UpstreamPolicy(allowed_ips=LOOPBACK))
    assert network.dialled == []


async def test_validation_can_be_turned_off(monkeypatch: Any) -> None:
    network = Network(monkeypatch, "8.8.8.8")
    await dial(UpstreamPolicy(disable_ip_validation=True))
    assert network.dialled == ["8.8.8.8"]


async def test_the_next_address_is_tried_without_another_lookup(monkeypatch: Any) -> None:
    network = Network(monkeypatch, "10.0.0.1", "10.0.0.2")
    network.refusing = {"10.0.0.1"}
    await dial(UpstreamPolicy())
    assert network.dialled == ["10.0.0.1", "10.0.0.2"]
    assert len(network.lookups) == 1


async def test_all_addresses_refuse(monkeypatch: Any) -> None:
    network = Network(monkeypatch, "10.0.0.1", "10.0.0.2")
    network.refusing = set(network.addresses)
    with pytest.raises(DialError, match=r"10\.0\.0\.1, 10\.0\.0\.2") as caught:
        await dial(UpstreamPolicy())
    assert (caught.value.status, caught.value.reason) == (502, "refused")


async def test_a_name_that_does_not_resolve(monkeypatch: Any) -> None:
    Network(monkeypatch)
    with pytest.raises(DialError, match=r"cannot resolve mcp\.lan") as caught:
        await dial(UpstreamPolicy())
    assert (caught.value.status, caught.value.reason) == (502, "dns")


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f.1", "127.1", "017700000001", "::ffff:127.0.0.1"]
)
async def test_odd_notations_are_judged_by_what_they_mean(host: str) -> None:
    with pytest.raises(DialError, match=r"IP validation failed: 127\.0\.0\.1 is not"):
        await dial(UpstreamPolicy(), host)


async def test_ipv6_is_never_dialled() -> None:
    with pytest.raises(DialError) as caught:
        await dial(UpstreamPolicy(disable_ip_validation=True), "::1")
    assert caught.value.reason == "dns"


async def test_connecting_takes_no_longer_than_allowed(monkeypatch: Any) -> None:
    network = Network(monkeypatch, "10.0.0.1")

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    with pytest.raises(DialError) as caught:
        await Dialer(UpstreamPolicy(), 0.01).connect(
            Upstream("http", "mcp.lan", 8000), asyncio.BufferedProtocol
        )
    assert (caught.value.status, caught.value.reason) == (504, "timeout")
    assert network.lookups


async def test_a_silent_address_leaves_time_for_the_others(monkeypatch: Any) -> None:
    network = Network(monkeypatch, "10.0.0.1", "10.0.0.2", "10.0.0.3")

    async def silent(factory: Any, host: str, port: int, **options: Any) -> Any:
        network.dialled.append(host)
        if host != "10.0.0.3":
            await asyncio.Event().wait()
        return mock.Mock(**{"is_closing.return_value": False}), factory()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", silent)
    await Dialer(UpstreamPolicy(), 0.3).connect(
        Upstream("http", "mcp.lan", 8000), asyncio.BufferedProtocol
    )
    assert network.dialled == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


async def test_an_address_of_hundreds_has_time_to_answer(monkeypatch: Any) -> None:
    network = Network(monkeypatch, *(f"10.0.{n // 100}.{n % 100}" for n in range(300)))

    async def slow(factory: Any, host: str, port: int, **options: Any) -> Any:
        network.dialled.append(host)
        await asyncio.sleep(0.2)
        return mock.Mock(**{"is_closing.return_value": False}), factory()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", slow)
    await Dialer(UpstreamPolicy(), 16).connect(
        Upstream("http", "mcp.lan", 8000), asyncio.BufferedProtocol
    )
    assert network.dialled == ["10.0.0.0"]


async def test_hundreds_of_silent_addresses_take_no_longer_than_one(monkeypatch: Any) -> None:
    network = Network(monkeypatch, *(f"10.0.{n // 100}.{n % 100}" for n in range(300)))

    async def silent(factory: Any, host: str, port: int, **options: Any) -> Any:
        network.dialled.append(host)
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", silent)
    with pytest.raises(DialError) as caught:
        await Dialer(UpstreamPolicy(), 0.3).connect(
            Upstream("http", "mcp.lan", 8000), asyncio.BufferedProtocol
        )
    assert (caught.value.status, caught.value.reason) == (504, "timeout")
    assert 1 <= len(network.dialled) <= 17  # a timer may fire a moment early


async def test_a_stuck_lookup_holds_up_nobody_else(monkeypatch: Any) -> None:
    """It takes only one thread, even if many requests ask for the name."""
    network = Network(monkeypatch, "10.0.0.1")
    real, release = network.getaddrinfo, threading.Event()

    def getaddrinfo(host: str, port: int | None, **options: Any) -> list[Any]:
        found = real(host, port, **options)
        if host == "stuck.lan":
            release.wait(30)
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    dialer = Dialer(UpstreamPolicy(), 20)

    def connect(host: str) -> asyncio.Task[asyncio.BufferedProtocol]:
        return asyncio.ensure_future(
            dialer.connect(Upstream("http", host, 8000), asyncio.BufferedProtocol)
        )

    stuck = [connect("stuck.lan") for _ in range(50)]
    try:
        await asyncio.gather(*(connect(f"mcp{number}.lan") for number in range(5)))
        assert [host for host, *_ in network.lookups].count("stuck.lan") == 1
        assert not any(task.done() for task in stuck)
        stuck[0].cancel()
    finally:
        release.set()
    outcomes = await asyncio.gather(*stuck, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(asyncio.CancelledError) == 1
    assert sum(isinstance(outcome, asyncio.BufferedProtocol) for outcome in outcomes) == 49
    # The next one asks again: no answer is kept.
    await connect("stuck.lan")
    assert [host for host, *_ in network.lookups].count("stuck.lan") == 2


async def test_a_lookup_for_which_there_is_no_thread(monkeypatch: Any) -> None:
    network = Network(monkeypatch, "10.0.0.1")
    with monkeypatch.context() as patch:

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", refuse)
        dialer = Dialer(UpstreamPolicy(), 20)
        with pytest.raises(DialError, match=r"mcp\.lan: can't start new thread") as caught:
            await dialer.connect(Upstream("http", "mcp.lan", 8000), asyncio.BufferedProtocol)
    assert (caught.value.status, caught.value.reason) == (502, "dns")
    assert caught.value.error == "proxy_internal_error"
    await dialer.connect(Upstream("http", "mcp.lan", 8000), asyncio.BufferedProtocol)
    assert network.dialled == ["10.0.0.1"]


class Lost(asyncio.BufferedProtocol):
    """Its connection is over as soon as it is made."""

    def connection_made(self, transport: Any) -> None:
        transport.abort()


class LostTls(UpstreamTls):
    """The same with TLS."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.abort()


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_that_is_lost_at_once_is_none(
    monkeypatch: Any, new_loop: Any, scheme: Any
) -> None:
    """An upstream resets a connection that it accepted: the loop knows before the dialler does."""
    monkeypatch.setattr("mcp_proxy.upstream.dial.UpstreamTls", LostTls)
    complaints: list[Any] = []
    policy = UpstreamPolicy(allowed_ips=LOOPBACK, include_system_cas=True)
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.closing(new_loop()) as loop:
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        upstream = Upstream(scheme, "127.0.0.1", server.getsockname()[1])
        with pytest.raises(DialError, match="Connection reset by peer") as caught:
            loop.run_until_complete(Dialer(policy, 20).connect(upstream, Lost))
        loop.run_until_complete(asyncio.sleep(0))
        gc.collect()
    assert (caught.value.status, caught.value.reason) == (502, "unreachable")
    assert caught.value.error == "connection_terminated"
    assert complaints == []
