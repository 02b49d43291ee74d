"""Upstreams that demand client certificates, and routes whose TLS differs."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pki import Authority, Issued, client_pair
from running import DOMAIN, KEPT, SRC, RunningProxy, running_proxy
from tunnelled import answer, client, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head

CLIENTS = Authority("CA of clients")
SERVERS = Authority("CA of servers")
NAME = "wiki.lan"  # of the upstream's certificate; nobody can resolve it


class Upstream:
    """Demands a certificate, and answers with its serial number and the name asked for (SNI)."""

    def __init__(self, home: Path) -> None:
        self.connections = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*SERVERS.issue(NAME).write(home / "upstream"))
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.load_verify_locations(cadata=CLIENTS.cert.decode())
        self.context.sni_callback = self._note_name
        self.ca_file = str(home / "upstream/ca.crt")
        Path(self.ca_file).write_bytes(SERVERS.cert)

    def _note_name(self, tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        self.name = name

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        shown = writer.get_extra_info("peercert")["serialNumber"]
        number = int(shown, 16)
        while True:
            line, fields = await read_head(reader)
            await reader.readexactly(int(fields.get("content-length", "0")))
            last = "/last" in line
            body = b"%d %b" % (number, str(self.name).encode())
            writer.write(plain_answer(body, *([b"Connection: close"] if last else [])))
            if last:
                return

    def options(self, home: Path, pair: Issued) -> dict[str, str]:
        cert, key = pair.write(home)
        return {
            "client_cert": cert,
            "client_key": key,
            "ca_file": self.ca_file,
            "server_name": NAME,
        }


@contextlib.asynccontextmanager
async def proxy_of(
    home: Path, upstream: Upstream, options: dict[str, Any]
) -> AsyncIterator[RunningProxy]:
    async with raw_upstream(upstream, upstream.context) as port:
        routes = dict.fromkeys(options, f"https://127.0.0.1:{port}")
        (home / "tls").mkdir(exist_ok=True)
        async with running_proxy(home, routes, route_options=options, timeouts=KEPT) as proxy:
            tls = {"cert_file": str(home / "tls/tls.crt"), "key_file": str(home / "tls/tls.key")}
            proxy.edit(tls={**tls, "poll_interval": "50ms"})
            assert (await proxy.reload())[0] == 0
            yield proxy


async def ask(proxy: RunningProxy, route: str, path: str = "/") -> tuple[int, str]:
    async with raw_client(proxy, route) as (reader, writer):
        writer.write(get(route, path))
        status, _, body = await answer(reader)
        return status, body.decode()


async def test_the_upstream_sees_the_certificate_of_the_route(tmp_path: Path) -> None:
    upstream, pair = Upstream(tmp_path), client_pair(CLIENTS)
    stranger = client_pair(Authority("somebody else's CA"))
    good = upstream.options(tmp_path / "a", pair)
    options: dict[str, Any] = {
        "good": good,
        "stranger": upstream.options(tmp_path / "b", stranger),
        "none": {"ca_file": upstream.ca_file, "server_name": NAME},
        "unnamed": {**good, "server_name": "other.lan"},
        "untrusting": {**good, "ca_file": str(tmp_path / "ca.crt")},
    }
    async with proxy_of(tmp_path, upstream, options) as proxy:
        assert await ask(proxy, "good") == (200, f"{pair.serial} {NAME}")
        for route in ("unnamed", "untrusting"):
            assert await ask(proxy, route) == (502, "Upstream TLS handshake failed\n")
        # With TLS 1.3 the server judges the client's certificate after the client's handshake.
        for route in ("stranger", "none"):
            assert (await ask(proxy, route))[0] == 502
        assert await ask(proxy, "good") == (200, f"{pair.serial} {NAME}")
    assert upstream.connections == 1


async def test_routes_that_differ_share_no_connection(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path)
    pairs = {"one": client_pair(CLIENTS), "two": client_pair(CLIENTS)}
    options = {name: upstream.options(tmp_path / name, pair) for name, pair in pairs.items()}
    options["again"] = options["one"]
    async with proxy_of(tmp_path, upstream, options) as proxy:
        for _ in range(3):
            for name, pair in pairs.items():
                assert await ask(proxy, name) == (200, f"{pair.serial} {NAME}")
        assert await ask(proxy, "again") == (200, f"{pairs['one'].serial} {NAME}")
    assert upstream.connections == 2


async def test_a_renewed_certificate_is_used_and_no_call_fails(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path)
    pairs = [client_pair(CLIENTS) for _ in range(4)]
    seen: asyncio.Queue[str] = asyncio.Queue()
    options = {"wiki": upstream.options(tmp_path / "client", pairs[0])}
    async with proxy_of(tmp_path, upstream, options) as proxy:
        busy = True

        async def call(path: str) -> None:
            async with client(proxy, "2") as http:
                while busy:
                    reply = await http.post(f"https://wiki.{DOMAIN}{path}", content=b"x")
                    seen.put_nowait(reply.text.split()[0] if reply.is_success else reply.text)

        callers = [asyncio.ensure_future(call(path)) for path in ("/", "/", "/last", "/last")]
        answers = []
        for pair in pairs:
            if pair is not pairs[0]:
                pair.write(tmp_path / "client")
            while str(pair.serial) not in answers[-1:]:
                answers.append(await seen.get())
        busy = False
        await asyncio.gather(*callers)
        while not seen.empty():
            answers.append(seen.get_nowait())
        assert set(answers) == {str(pair.serial) for pair in pairs}, proxy.transcript()


@pytest.mark.parametrize("what", ["unreadable", "mismatch", "partner", "http"])
async def test_what_does_not_fit_is_refused(tmp_path: Path, what: str) -> None:
    """By a reload, which keeps the old settings, and by ``check-config``."""
    upstream = Upstream(tmp_path)
    good = upstream.options(tmp_path / "a", client_pair(CLIENTS))
    other = upstream.options(tmp_path / "b", client_pair(CLIENTS))
    bad: dict[str, Any] = {
        "unreadable": {**good, "client_key": str(tmp_path / "none.key")},
        "mismatch": {**good, "client_key": other["client_key"]},
        "partner": {name: value for name, value in good.items() if name != "client_key"},
        "http": {"server_name": NAME},
    }
    expected = {
        "unreadable": "client_key: cannot read",
        "mismatch": "client_key: the key in",
        "partner": "client_cert: is of no use without client_key; set client_key",
        "http": "server_name: is for https, but the upstream is http://",
    }
    async with proxy_of(tmp_path, upstream, {"wiki": good}) as proxy:
        if what == "http":
            proxy.edit(routes={"wiki": "http://127.0.0.1:1"})
        proxy.edit(route_options={"wiki": bad[what]})
        status, _, told = await proxy.reload()
        assert status == 1
        assert f"route_options.wiki.{expected[what]}" in told
        checked = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mcp_proxy", "check-config", str(proxy.config)),
            stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": str(SRC)},
        )
        printed, _ = await checked.communicate()
        assert checked.returncode == 1
        assert printed.decode() == told
        assert (await ask(proxy, "wiki"))[0] == 200


async def test_a_reload_tells_the_new_certificate_and_refuses_an_expired_one(
    tmp_path: Path,
) -> None:
    upstream = Upstream(tmp_path)
    pairs = {
        "first": client_pair(CLIENTS),
        "second": client_pair(CLIENTS),
        "expired": client_pair(CLIENTS, begins_days=-9, ends_days=-1),
    }
    options = {name: upstream.options(tmp_path / name, pair) for name, pair in pairs.items()}
    async with proxy_of(tmp_path, upstream, {"wiki": options["first"]}) as proxy:
        proxy.edit(route_options={"wiki": options["expired"]})
        status, _, told = await proxy.reload()
        assert (status, "route_options.wiki.client_cert: expired at " in told) == (1, True), told
        assert await ask(proxy, "wiki") == (200, f"{pairs['first'].serial} {NAME}")
        seen = len(proxy.log)
        proxy.edit(route_options={"wiki": options["second"]})
        assert await proxy.reload() == (0, "", "")
        line = await proxy.logged("client certificate loaded", after=seen)
        assert line["serial"] == f"{pairs['second'].serial:x}"
        assert await ask(proxy, "wiki") == (200, f"{pairs['second'].serial} {NAME}")
