"""Address validation at dial time: names resolved, addresses refused, and addresses dialled."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
import threading
from ipaddress import IPv4Address, IPv4Network
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


def protocol(address: str) -> asyncio.BufferedProtocol:
    return asyncio.BufferedProtocol()


async def dial(policy: UpstreamPolicy, host: str = "mcp.lan") -> None:
    await Dialer(policy, 1.0).connect(Upstream("http", host, 8000), protocol)


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
        await Dialer(UpstreamPolicy(), 0.01).connect(Upstream("http", "mcp.lan", 8000), protocol)
    assert (caught.value.status, caught.value.reason) == (504, "timeout")
    assert network.lookups


class Crowd(Network):
    """Of its addresses, those in ``silent`` never answer, and the others as soon as they may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        super().__init__(monkeypatch, *addresses)
        self.silent: set[str] = set()
        self.given_up: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.connected: list[str] = []
        self.second = asyncio.Event()

    async def create_connection(self, factory: Any, host: str, port: int, **options: Any) -> Any:
        if self.dialled:
            self.second.set()
        made = await super().create_connection(factory, host, port, **options)
        try:
            await (asyncio.Event() if host in self.silent else self.may_answer).wait()
        except asyncio.CancelledError:
            self.given_up.append(host)
            raise
        self.connected.append(host)
        return made


def numbered(count: int) -> list[str]:
    return [f"10.0.{number // 100}.{number % 100}" for number in range(count)]


MCP = Upstream("http", "mcp.lan", 8000)


async def test_a_silent_address_leaves_time_for_the_others(monkeypatch: Any) -> None:
    network = Crowd(monkeypatch, "10.0.0.1", "10.0.0.2", "10.0.0.3")
    network.silent = {"10.0.0.1", "10.0.0.2"}
    await Dialer(UpstreamPolicy(), 20).connect(MCP, protocol)
    assert network.dialled == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    await asyncio.sleep(0)
    assert network.given_up == ["10.0.0.1", "10.0.0.2"]


async def test_a_slow_address_is_not_given_up_for_the_next_one(monkeypatch: Any) -> None:
    network = Crowd(monkeypatch, "10.0.0.1", "10.0.0.2")
    network.silent = {"10.0.0.2"}
    network.may_answer.clear()
    dialling = asyncio.ensure_future(Dialer(UpstreamPolicy(), 20).connect(MCP, protocol))
    await network.second.wait()
    network.may_answer.set()
    await dialling
    await asyncio.sleep(0)
    assert (network.connected, network.given_up) == (["10.0.0.1"], ["10.0.0.2"])


async def test_hundreds_of_silent_addresses_take_no_longer_than_one(monkeypatch: Any) -> None:
    network = Crowd(monkeypatch, *numbered(300))
    network.silent = set(network.addresses)
    with pytest.raises(DialError) as caught:
        await Dialer(UpstreamPolicy(), 0.3).connect(MCP, protocol)
    assert (caught.value.status, caught.value.reason) == (504, "timeout")
    assert 1 <= len(network.dialled) <= 17  # a timer may fire a moment early


async def test_hundreds_of_silent_addresses_are_dialled_some_at_a_time(monkeypatch: Any) -> None:
    network = Crowd(monkeypatch, *numbered(300))
    network.silent = set(network.addresses)
    dialling = asyncio.ensure_future(Dialer(UpstreamPolicy(), 2).connect(MCP, protocol))
    while not dialling.done():
        assert len(network.dialled) - len(network.given_up) <= 9  # one is about to be given up
        await asyncio.sleep(0.01)
    assert isinstance(dialling.exception(), DialError)


class Clock:
    """Stands still, but for the test."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
SPREAD = Upstream("http", "mcp.lan", 8000, spread=True)


class Calls:
    """Connections to one upstream, one after the other, and the addresses dialled for each."""

    def __init__(self, network: Network, upstream: Upstream = MCP) -> None:
        self.clock = Clock()
        self.network = network
        self.dialer = Dialer(UpstreamPolicy(), 20, clock=self.clock)
        self.upstream = upstream
        self.for_calls: list[str] = []

    async def one(self) -> list[str]:
        """Make a connection; return the addresses that were dialled for it."""
        dialled: list[str] = []

        def made(address: str) -> asyncio.BufferedProtocol:
            dialled.append(address)
            return protocol(address)

        try:
            await self.dialer.connect(self.upstream, made)
        finally:
            self.for_calls += dialled
        return dialled

    async def trials(self) -> list[str]:
        """Let trials end; return the addresses that were dialled for those that had begun."""
        while self.dialer._trials:
            await asyncio.wait(self.dialer._trials.values())
        dialled = self.network.dialled.copy()
        for address in self.for_calls:
            dialled.remove(address)
        self.network.dialled.clear()
        self.for_calls.clear()
        return dialled


async def test_one_address_is_kept_while_it_is_good(monkeypatch: Any) -> None:
    network = Network(monkeypatch, A, B)
    calls = Calls(network)
    assert await calls.one() == [A]
    network.addresses = (B, A, C)  # as name servers turn them
    assert [await calls.one() for _ in range(3)] == [[A]] * 3
    network.refusing = {A}
    assert await calls.one() == [A, B]
    network.refusing = set()
    assert await calls.one() == [B]


async def test_an_address_that_failed_comes_last_and_is_tried_once_beside_the_calls(
    monkeypatch: Any,
) -> None:
    network = Network(monkeypatch, A, B)
    network.refusing = {A}
    calls = Calls(network)
    assert await calls.one() == [A, B]
    calls.clock.now += 4.9
    assert await calls.one() == [B]
    assert await calls.trials() == []
    calls.clock.now += 0.2
    assert await calls.one() == [B]
    assert await calls.one() == [B]
    assert await calls.trials() == [A]  # in vain
    assert await calls.one() == [B]
    assert await calls.trials() == []


async def test_one_that_comes_back_is_used_again(monkeypatch: Any) -> None:
    network = Network(monkeypatch, A, B)
    network.refusing = {A}
    calls = Calls(network)
    await calls.one()
    network.refusing = set()
    calls.clock.now += 5.1
    await calls.one()
    assert await calls.trials() == [A]
    network.refusing = {B}
    assert await calls.one() == [B, A]


async def test_a_silent_address_costs_one_call_its_head_start(monkeypatch: Any) -> None:
    network = Crowd(monkeypatch, A, B)
    network.silent = {A}
    calls = Calls(network, SPREAD)
    assert await calls.one() == [A, B]
    assert [await calls.one() for _ in range(5)] == [[B]] * 5
    calls.clock.now += 5.1
    assert await calls.one() == [B]  # with a trial of A, for which nobody waits
    assert [await calls.one() for _ in range(5)] == [[B]] * 5
    calls.dialer.close()
    assert await calls.trials() == [A]
    assert network.given_up == [A, A]


async def test_good_addresses_take_turns_with_spread(monkeypatch: Any) -> None:
    network = Network(monkeypatch, B, C, A)
    network.refusing = {B}
    calls = Calls(network, SPREAD)
    assert [await calls.one() for _ in range(5)] == [[A], [B, C], [A], [C], [A]]
    network.refusing = set()
    calls.clock.now += 5.1
    await calls.one()
    assert await calls.trials() == [B]
    assert [await calls.one() for _ in range(4)] == [[A], [B], [C], [A]]


async def test_without_a_good_address_all_are_dialled(monkeypatch: Any) -> None:
    network = Network(monkeypatch, A, B)
    network.refusing = {A, B}
    calls = Calls(network)
    for _ in range(3):
        with pytest.raises(DialError, match="refused by 10"):
            await calls.one()
        assert calls.for_calls == [A, B]
        calls.clock.now += 5.1
        assert await calls.trials() == []
    network.refusing = {B}
    assert await calls.one() == [A]


async def test_a_shortage_of_its_own_is_no_fault_of_an_address(monkeypatch: Any) -> None:
    network = Network(monkeypatch, A, B)
    calls = Calls(network)
    with monkeypatch.context() as patch:
        patch.setattr("mcp_proxy.upstream.dial.descriptors.short", lambda: True)
        with pytest.raises(DialError, match="Too many open files"):
            await calls.one()
    assert await calls.one() == [A]


async def test_a_shortage_of_its_own_during_a_trial_is_no_fault_either(monkeypatch: Any) -> None:
    network = Network(monkeypatch, A, B)
    network.refusing = {A}
    calls = Calls(network)
    await calls.one()
    calls.clock.now += 5.1
    addresses, real = calls.dialer.addresses(MCP), network.create_connection

    async def short(factory: Any, host: str, port: int, **options: Any) -> Any:
        if host == A:  # good again, as a call has found out in the meantime
            addresses.mended(A)
            raise OSError(errno.EMFILE, "Too many open files")
        return await real(factory, host, port, **options)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", short)
    assert await calls.one() == [B]
    await asyncio.wait(calls.dialer._trials.values())
    assert addresses.order([A, B]) == [B, A]
    addresses.used(A)
    assert addresses.order([A, B]) == [A, B]


async def test_one_address_of_an_upstream_is_tried_at_a_time(monkeypatch: Any) -> None:
    network = Network(monkeypatch, A, B, C)
    network.refusing = {A, B}
    calls = Calls(network)
    assert await calls.one() == [A, B, C]
    calls.clock.now += 5.1
    for address in (A, B):
        for _ in range(5):
            calls.dialer.try_again(MCP)
        assert await calls.trials() == [address]
    assert await calls.one() == [C]
    assert await calls.trials() == []


async def test_a_trial_without_an_outcome_is_not_the_last_one(monkeypatch: Any) -> None:
    """The name has one address for a moment, as the trial of another one fails."""
    network = Network(monkeypatch, A, B)
    network.refusing = {A}
    calls = Calls(network)
    await calls.one()
    addresses = calls.dialer.addresses(MCP)
    calls.clock.now += 5.1
    assert addresses.due() == A
    addresses.order([A])
    assert not addresses.failed(A)
    addresses.order([A, B])
    assert addresses.due() == ""
    calls.clock.now += 5.1
    assert addresses.due() == A


async def test_the_work_for_hundreds_of_failed_addresses_is_that_for_one_more_call(
    monkeypatch: Any,
) -> None:
    network = Network(monkeypatch, *numbered(1000))
    network.refusing = set(network.addresses[:63])
    calls = Calls(network)
    assert await calls.one() == numbered(64)
    judged = 0

    def judge(text: str) -> IPv4Address:
        nonlocal judged
        judged += "." in text[:3]
        return IPv4Address(text)

    calls.clock.now += 5.1
    monkeypatch.setattr("mcp_proxy.upstream.dial.IPv4Address", judge)
    assert await calls.one() == [numbered(64)[-1]]
    assert await calls.trials() == [numbered(64)[0]]
    assert judged == 2000


async def test_of_hundreds_of_addresses_some_are_dialled_and_all_must_be_allowed(
    monkeypatch: Any,
) -> None:
    network = Network(monkeypatch, *numbered(300))
    network.refusing = set(network.addresses)
    with pytest.raises(DialError, match="refused by"):
        await dial(UpstreamPolicy())
    assert network.dialled == numbered(64)
    network.addresses = (*network.addresses, "8.8.8.8")
    with pytest.raises(DialError, match=r"8\.8\.8\.8 is not a private address"):
        await dial(UpstreamPolicy())
    assert network.dialled == numbered(64)


async def test_a_trial_dials_nothing_that_has_become_forbidden(monkeypatch: Any) -> None:
    network = Network(monkeypatch, A, B)
    network.refusing = {A}
    calls = Calls(network)
    await calls.one()
    calls.clock.now += 5.1
    real, answers = network.getaddrinfo, [(A, B), (A, "169.254.169.254")]

    def rebinding(*args: Any, **options: Any) -> list[Any]:
        network.addresses = answers.pop(0)
        return real(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert await calls.one() == [B]
    assert await calls.trials() == []
    assert answers == []


async def test_a_name_that_has_moved_leads_to_its_new_address(monkeypatch: Any) -> None:
    network = Network(monkeypatch, A, B)
    for upstream in (MCP, SPREAD):
        calls = Calls(network, upstream)
        network.addresses, network.refusing = (A, B), {A}
        assert await calls.one() == [A, B]
        network.addresses = (C,)
        calls.clock.now += 5.1
        assert await calls.one() == [C]
        assert await calls.trials() == []


async def test_what_failed_for_one_upstream_is_good_for_another(monkeypatch: Any) -> None:
    """It may be for its port or its certificate."""
    network = Network(monkeypatch, A, B)
    calls = Calls(network)
    network.refusing = {A}
    await calls.one()
    network.refusing = set()
    calls.upstream = Upstream("http", "mcp.lan", 8001)
    assert await calls.one() == [A]
    calls.upstream = MCP
    assert await calls.one() == [B]


async def test_an_upstream_that_is_configured_no_more_is_forgotten(monkeypatch: Any) -> None:
    network = Network(monkeypatch, A, B)
    calls = Calls(network)
    await calls.one()
    calls.dialer.keep([SPREAD])
    network.addresses = (B, A)
    assert await calls.one() == [B]


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
        return asyncio.ensure_future(dialer.connect(Upstream("http", host, 8000), protocol))

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
            await dialer.connect(Upstream("http", "mcp.lan", 8000), protocol)
    assert (caught.value.status, caught.value.reason) == (502, "dns")
    assert caught.value.error == "proxy_internal_error"
    await dialer.connect(Upstream("http", "mcp.lan", 8000), protocol)
    assert network.dialled == ["10.0.0.1"]


class Lost(asyncio.BufferedProtocol):
    """Its connection is over as soon as it is made."""

    def __init__(self, address: str) -> None:
        """Any *address* will do."""

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
