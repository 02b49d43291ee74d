"""No upstream name, client or answer of an upstream leads the proxy to a forbidden address.

A real proxy, resolver and name server in a network of the test's own, in which every address of the
table answers. Two witnesses know the addresses tried: the upstream that listens on all of them, and
the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from name_server import A, NameServer, Reply, addresses, name_server
from namespace import Namespace, own_network
from pki import Authority
from running import DOMAIN, KEPT, SRC, RunningProxy, running_proxy
from ssrf_cases import (
    ALLOWED_IPS,
    ASSIGNED,
    BAD_ALLOWED_IPS,
    BAD_UPSTREAMS,
    CASES,
    EDGES,
    FURTHER_NAMES,
    HOST_ITSELF,
    HOSTS,
    IN_ORDER,
    METADATA,
    OTHER,
    PORT,
    UPSTREAM,
    Case,
    Outcome,
    refused,
    served,
)
from tunnelled import answer, raw_client
from upstreams import all_options, plain_answer, read_head

pytestmark = pytest.mark.asyncio(loop_scope="module")
REBINDING = {
    "alternates": [addresses(UPSTREAM), addresses(METADATA)] * 10,
    "after-the-check": [addresses(UPSTREAM), addresses(METADATA)],
    "while-pooled": [addresses(UPSTREAM), addresses(METADATA)],
}


@dataclass
class Upstreams:
    """Listens on every address; ``reached`` are those on which a connection arrived."""

    reached: set[str] = field(default_factory=set)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    fields: tuple[bytes, ...] = ()
    status: bytes = b"200 OK"
    keep: bool = False

    @contextlib.asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None) -> AsyncIterator[None]:
        listener = await asyncio.start_server(self._serve, "0.0.0.0", PORT, ssl=tls)
        try:
            yield
        finally:
            listener.close()
            await listener.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address, port = writer.get_extra_info("sockname")[:2]
        self.reached.add(f"{address}:{port}")
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.requests.append(await read_head(reader))
                fields = self.fields if self.keep else (*self.fields, b"Connection: close")
                plain = plain_answer(b"served\n", *fields)
                writer.write(plain.replace(b"200 OK", self.status, 1))
                if not self.keep:
                    break
        writer.close()


@dataclass
class Scene:
    """Everything that takes part."""

    network: Namespace
    names: NameServer
    upstreams: Upstreams
    proxy: RunningProxy

    async def ask(self, request: bytes, route: str) -> tuple[int, dict[str, str], bytes]:
        """Send *request* in a TLS connection for the name of *route*."""
        async with raw_client(self.proxy, route) as (reader, writer):
            writer.write(request)
            return await answer(reader)

    async def expect(self, route: str, outcome: Outcome) -> None:
        """Send a request and compare everything with *outcome*."""
        before = len(self.proxy.log)
        status, _, body = await self.ask(_get(f"{route}.{DOMAIN}"), route)
        line = await self.proxy.logged("request finished", after=before, route=route)
        told = [item["msg"] for item in self.proxy.log[before:] if item.get("route") == route]
        assert (status, body.decode().strip()) == (outcome.status, outcome.text)
        assert line["status"] == outcome.status
        assert any(message.startswith(outcome.log) for message in told), told
        self.expect_dialled(*outcome.dialled, late=outcome.late)

    def expect_dialled(self, *expected: str, late: Iterable[str] = ()) -> None:
        """Of addresses on the routes' port, these have been tried since the last call.

        No others have, except perhaps those that come *late*.
        """
        wanted = {f"{address}:{PORT}" for address in expected}
        allowed = wanted | {f"{address}:{PORT}" for address in late}
        dialled = self.network.dialled()
        assert wanted <= dialled <= allowed
        assert self.upstreams.reached <= allowed
        self.forget()

    def forget(self) -> None:
        self.network.forget()
        self.upstreams.reached.clear()


def _get(host: str, target: str = "/", *fields: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, "", ""]
    return "\r\n".join(lines).encode()


@contextlib.contextmanager
def _network() -> Iterator[Namespace]:
    further = {address for address, _ in EDGES if not address.startswith(("127.", "0."))}
    many = {f"10.1.{number // 250}.{number % 250}" for number in range(300)}
    with own_network(*sorted({*ASSIGNED, *further, *many})) as made:
        yield made


@contextlib.asynccontextmanager
async def _scene(
    home: Path,
    routes: dict[str, str],
    zone: dict[str, list[Reply]],
    has_options: bool = False,
    **policy: object,
) -> AsyncIterator[Scene]:
    upstreams = Upstreams()
    tls, options = all_options(home) if has_options else (None, {})
    scheme = "https" if has_options else "http"
    options.pop("methods", None)  # refuses fields that are to lead nowhere
    # The other way, the name server's order counts.
    in_order = {**options, "spread": False}
    with _network() as network:
        async with name_server(zone) as names, upstreams.listening(tls):
            async with running_proxy(
                home,
                {name: f"{scheme}://{host}:{PORT}" for name, host in routes.items()},
                route_options={name: in_order if name in IN_ORDER else options for name in routes},
                through=network.resolver(home, HOSTS),
                timeouts={**KEPT, "connect": "10s"},
                upstream=policy,
            ) as proxy:
                yield Scene(network, names, upstreams, proxy)


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[False, True], ids=["plain", "options"]
)
async def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    zone = {case.host.lower(): list(case.replies) for case in CASES if case.replies}
    zone |= FURTHER_NAMES
    zone |= {f"{title}.test": list(replies) for title, replies in REBINDING.items()}
    routes = {case.title: case.host for case in CASES}
    routes |= {title: f"{title}.test" for title in REBINDING}
    home = tmp_path_factory.mktemp("ssrf")
    async with _scene(home, routes, zone, has_options=request.param) as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> None:
    if "scene" in request.fixturenames:
        made: Scene = request.getfixturevalue("scene")
        made.forget()
        made.names.questions.clear()
        made.upstreams.requests.clear()
        made.upstreams.fields, made.upstreams.status, made.upstreams.keep = (), b"200 OK", False


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
async def test_what_a_name_leads_to(scene: Scene, case: Case) -> None:
    await scene.expect(case.title, case.outcome)


async def test_a_name_that_alternates_is_judged_each_time(scene: Scene) -> None:
    for _ in range(3):
        await scene.expect("alternates", served(UPSTREAM))
        await scene.expect("alternates", refused(METADATA))
    # One look-up for each connection: the address that was checked is the one dialled.
    assert scene.names.questions == [("alternates.test", A)] * 6


async def test_a_second_answer_changes_nothing(scene: Scene) -> None:
    await scene.expect("after-the-check", served(UPSTREAM))
    assert scene.names.questions == [("after-the-check.test", A)]


async def test_a_name_that_changes_while_its_connection_waits(scene: Scene) -> None:
    scene.upstreams.keep = True
    await scene.expect("while-pooled", served(UPSTREAM))
    await scene.expect("while-pooled", served())  # on the same connection
    scene.upstreams.keep = False
    await scene.expect("while-pooled", served())  # closed by this answer
    await scene.expect("while-pooled", refused(METADATA))


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"307 Again", b"308 For ever"])
@pytest.mark.parametrize("address", [METADATA, "127.0.0.1", HOST_ITSELF, OTHER])
async def test_redirects_are_passed_on_as_they_are(
    scene: Scene, status: bytes, address: str
) -> None:
    location = f"http://{address}:{PORT}/latest/meta-data"
    scene.upstreams.status = status
    scene.upstreams.fields = (
        f"Location: {location}".encode(),
        f"Refresh: 0; url={location}".encode(),
        f'Alt-Svc: http/1.1="{address}:{PORT}"'.encode(),
        f"Link: <{location}>; rel=preload".encode(),
    )
    got, fields, body = await scene.ask(_get(f"literal-allowed.{DOMAIN}"), "literal-allowed")
    assert (got, body) == (int(status.split()[0]), b"served\n")
    assert fields["location"] == location
    assert fields["refresh"] == f"0; url={location}"
    scene.expect_dialled(UPSTREAM)


HOSTILE_HOSTS = (
    METADATA,
    f"{METADATA}:{PORT}",
    "127.0.0.1:8081",
    "localhost",
    "[::1]",
    f"[::ffff:{METADATA}]",
    "0x7f000001",
    "2130706433",
    f"literal-allowed.{DOMAIN}.{METADATA}",
    f"{METADATA}.{DOMAIN}",
    f"x.literal-allowed.{DOMAIN}",
)


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
async def test_a_host_that_is_no_route_leads_nowhere(scene: Scene, host: str) -> None:
    status, _, body = await scene.ask(_get(host), "literal-allowed")
    assert (status, body) == (502, b"No route configured for host\n")
    scene.expect_dialled()


MALFORMED = (
    _get(f"{METADATA}@literal-allowed.{DOMAIN}"),
    _get(f"literal-allowed.{DOMAIN}@{METADATA}"),
    _get(f"literal-allowed.{DOMAIN}/{METADATA}"),
    _get(f"literal-allowed.{DOMAIN}#{METADATA}"),
    _get(f"literal-allowed.{DOMAIN}, {METADATA}"),
    _get(f"literal-allowed.{DOMAIN}\r\nHost: {METADATA}"),
)


@pytest.mark.parametrize("request_", MALFORMED)
async def test_a_host_of_two_meanings_is_refused(scene: Scene, request_: bytes) -> None:
    status, _, _ = await scene.ask(request_, "literal-allowed")
    assert status == 400
    scene.expect_dialled()


@pytest.mark.parametrize("target", [f"http://{METADATA}:{PORT}/", "http://127.0.0.1:8081/metrics"])
async def test_an_absolute_target_is_a_host_like_any_other(scene: Scene, target: str) -> None:
    status, _, _ = await scene.ask(_get(f"literal-allowed.{DOMAIN}", target), "literal-allowed")
    assert status in (400, 502)
    scene.expect_dialled()


@pytest.mark.parametrize(
    "target", [f"//{METADATA}/latest", f"/http://{METADATA}/", f"/?url=http://{METADATA}/", "/@x"]
)
async def test_a_path_is_a_path(scene: Scene, target: str) -> None:
    status, _, _ = await scene.ask(_get(f"literal-allowed.{DOMAIN}", target), "literal-allowed")
    assert status == 200
    assert scene.upstreams.requests[0][0] == f"GET {target} HTTP/1.1"
    scene.expect_dialled(UPSTREAM)


async def test_fields_of_a_request_lead_nowhere(scene: Scene) -> None:
    names = ("Forwarded: host=", "X-Forwarded-Host: ", "X-Original-URL: http://", "X-Host: ")
    fields = [f"{name}{METADATA}:{PORT}" for name in names]
    request = _get(f"literal-allowed.{DOMAIN}:22", "/", *fields)
    assert (await scene.ask(request, "literal-allowed"))[0] == 200
    assert scene.upstreams.requests[0][1]["x-forwarded-host"] == f"literal-allowed.{DOMAIN}:22"
    scene.expect_dialled(UPSTREAM)


async def test_the_server_name_of_the_inner_tls_is_no_route(scene: Scene) -> None:
    """The host of each request counts, not the name that the connection was made for."""
    assert (await scene.ask(_get(f"literal-allowed.{DOMAIN}"), "localhost"))[0] == 200
    scene.expect_dialled(UPSTREAM)


async def test_a_tunnel_through_the_proxy_is_not_made(scene: Scene) -> None:
    request = f"CONNECT {METADATA}:{PORT} HTTP/1.1\r\nHost: {METADATA}:{PORT}\r\n\r\n"
    assert (await scene.ask(request.encode(), "literal-allowed"))[0] == 501
    scene.expect_dialled()


async def test_the_edges_of_allowed_ips(tmp_path: Path) -> None:
    routes = {f"edge-{address.replace('.', '-')}": address for address, _ in EDGES}
    async with _scene(tmp_path, routes, {}, allowed_ips=ALLOWED_IPS) as scene:
        scene.forget()
        for (route, address), (_, allowed) in zip(routes.items(), EDGES):
            await scene.expect(route, served(address) if allowed else refused(address))


async def test_without_validation_the_rest_still_holds(tmp_path: Path) -> None:
    routes = {"meta": METADATA, "six": "six.test", "turning": "turning.test"}
    zone = {"turning.test": [addresses(METADATA), addresses("127.0.0.1")]}
    async with _scene(tmp_path, routes, zone, disable_ip_validation=True) as scene:
        scene.forget()
        await scene.expect("meta", served(METADATA))
        await scene.expect("turning", served(METADATA))
        assert scene.names.questions == [("turning.test", A)]


async def test_odd_notations_do_not_pass_the_configuration(tmp_path: Path) -> None:
    cert, key = Authority().issue(DOMAIN).write(tmp_path)
    document = {
        "listen_addr": "127.0.0.1:0",
        "tunnel_domain": DOMAIN,
        "tls": {"cert_file": cert, "key_file": key},
        "routes": {f"r{number}": url for number, url in enumerate(BAD_UPSTREAMS)},
        "upstream": {"allowed_ips": list(BAD_ALLOWED_IPS)},
    }
    path = tmp_path / "proxy.yaml"
    path.write_text(yaml.safe_dump(document))
    problems = await _check(path)
    for number, remedy in enumerate(BAD_UPSTREAMS.values()):
        said = [line for line in problems if f" routes.r{number}: " in line]
        assert len(said) == 1
        assert "invalid upstream (must be scheme://host:port)" in said[0]
        assert said[0].endswith(remedy)
    for number in range(len(BAD_ALLOWED_IPS)):
        assert sum(f" upstream.allowed_ips[{number}]: " in line for line in problems) == 1
    assert len(problems) == len(BAD_UPSTREAMS) + len(BAD_ALLOWED_IPS)


async def _check(path: Path) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mcp_proxy", "check-config", str(path)),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(SRC)},
    )
    out, _ = await process.communicate()
    assert process.returncode == 1
    return out.decode().splitlines()
