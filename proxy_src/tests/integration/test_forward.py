"""Requests through the whole path, made by curl and httpx, answered by uvicorn and others."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from running import DOMAIN, proxied, running_proxy
from tunnelled import VERSIONS, answer, client, curl, get, raw_client
from upstreams import asgi_upstream, plain_answer, raw_upstream, read_head


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it got, as JSON."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    seen = {
        "method": scope["method"],
        "target": scope["raw_path"].decode() + "?" + scope["query_string"].decode(),
        "headers": [(name.decode(), value.decode()) for name, value in scope["headers"]],
        "length": len(body),
    }
    fields = [(b"content-type", b"application/json"), (b"mcp-session-id", b"s-1")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


@pytest.mark.parametrize("version", VERSIONS)
async def test_curl(tmp_path: Path, version: str) -> None:
    async with proxied(tmp_path, asgi_upstream(echo)) as proxy:
        url = "echo/a/b?c=d&e"
        seen = json.loads(await curl(proxy, url, version=version))
        assert (seen["method"], seen["target"]) == ("GET", "/a/b?c=d&e")
        headers = dict(seen["headers"])
        assert headers["host"] == f"echo.{DOMAIN}"
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-forwarded-proto"] == "https"
        assert headers["x-forwarded-host"] == f"echo.{DOMAIN}"
        await proxy.logged("route configured", route="echo", level="info")
        await proxy.logged(
            "request started", route="echo", method="GET", host=f"echo.{DOMAIN}", path="/a/b"
        )
        line = await proxy.logged("request finished", route="echo", status=200)
        assert line["bytes_in"] == 0
        assert line["bytes_out"] > 0
        assert line["seconds"] >= 0

        seen = json.loads(await curl(proxy, url, "-d", "x" * 100_000, version=version))
        assert (seen["method"], seen["length"]) == ("POST", 100_000)
        chunked = ("-H", "Transfer-Encoding: chunked") if version == "1.1" else ()
        seen = json.loads(
            await curl(proxy, url, *chunked, "-T", str(proxy.ca_file), version=version)
        )
        assert (seen["method"], seen["length"]) == ("PUT", len(proxy.authority.cert))
        head = await curl(proxy, url, "-I", version=version)
        assert head.split()[1] == "200"
        assert "mcp-session-id: s-1" in head.lower()


@pytest.mark.parametrize("version", VERSIONS)
async def test_no_route(tmp_path: Path, version: str) -> None:
    async with running_proxy(tmp_path, {"echo": "http://127.0.0.1:9"}) as proxy:
        out = await curl(proxy, "other/", "-w", "%{http_code}", version=version)
        assert out == "No route configured for host\n502"
        await proxy.logged("no route for host", host=f"other.{DOMAIN}")
        await proxy.logged("request finished", route="-", status=502)


async def test_host_can_be_rewritten(tmp_path: Path) -> None:
    async with asgi_upstream(echo) as port:
        upstream = {"allowed_ips": ["127.0.0.1"], "rewrite_host": True}
        routes = {"echo": f"http://127.0.0.1:{port}"}
        async with running_proxy(tmp_path, routes, upstream=upstream) as proxy:
            headers = dict(json.loads(await curl(proxy, "echo/"))["headers"])
            assert headers["host"] == f"127.0.0.1:{port}"
            assert headers["x-forwarded-host"] == f"echo.{DOMAIN}"


async def test_a_redirect_to_itself_leads_to_the_proxy(tmp_path: Path) -> None:
    """Starlette answers /mcp this way where it serves /mcp/."""

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, fields = await read_head(reader)
        if line.split()[1] == "/mcp":
            location = b"Location: http://%b/mcp/" % fields["host"].encode()
            writer.write(plain_answer(b"", location).replace(b"200 OK", b"307 Moved"))
        else:
            writer.write(plain_answer(b"there"))

    async with raw_upstream(upstream) as port:
        policy = {"allowed_ips": ["127.0.0.1"], "rewrite_host": True}
        routes = {"echo": f"http://127.0.0.1:{port}"}
        async with running_proxy(tmp_path, routes, upstream=policy) as proxy:
            assert await curl(proxy, "echo/mcp", "-L") == "there"


async def test_hop_by_hop_fields_end_at_the_proxy(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, fields = await read_head(reader)
            body = json.dumps(fields).encode()
            hop = (b"Connection: X-Secret", b"X-Secret: 1", b"Keep-Alive: timeout=9")
            writer.write(plain_answer(body, *hop, b"WWW-Authenticate: Bearer a", b"X-Kept: 1"))

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            mine = ("Connection: X-Mine, TE", "X-Mine: 1", "TE: trailers", "Keep-Alive: 5")
            writer.write(get("echo", "/", *mine, "Mcp-Session-Id: abc", "X-Kept: 1"))
            _, fields, body = await answer(reader)
    assert fields.keys() == {"www-authenticate", "x-kept", "content-length"}
    seen = json.loads(body)
    assert seen["mcp-session-id"] == "abc"
    assert seen["te"] == "trailers"
    assert seen["connection"] == "TE"
    assert not {"x-mine", "keep-alive"} & seen.keys()


@pytest.mark.parametrize("version", VERSIONS)
async def test_forged_proxy_status_ends_at_the_proxy(tmp_path: Path, version: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        members = (b"cdn; error=dns_timeout", b"mcp-proxy; error=dns_error")
        fields = [(b"proxy-status", member) for member in members]
        await send({"type": "http.response.start", "status": 502, "headers": fields})
        await send({"type": "http.response.body", "body": b"Upstream name cannot be resolved"})

    async with proxied(tmp_path, asgi_upstream(app)) as proxy:
        async with client(proxy, version) as http:
            reply = await http.get(f"https://echo.{DOMAIN}/")
    assert reply.status_code == 502
    assert reply.headers.get_list("proxy-status") == ["cdn; error=dns_timeout"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_hundred_requests_at_once(tmp_path: Path, version: str) -> None:
    """HTTP/2 uses a hundred streams of one connection, HTTP/1.1 a hundred connections."""
    waiting = asyncio.Semaphore(0)
    everyone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        waiting.release()
        await everyone.wait()
        await echo(scope, receive, send)

    async def all_there() -> None:
        for _ in range(100):
            await waiting.acquire()
        everyone.set()

    async with proxied(tmp_path, asgi_upstream(app)) as proxy:
        async with client(proxy, version) as http:
            gate = asyncio.ensure_future(all_there())
            url = f"https://echo.{DOMAIN}/"
            answers = await asyncio.gather(
                *(http.post(f"{url}{n}", content=b"x" * n) for n in range(100))
            )
            await gate
        await proxy.logged_times(100, "request finished")
        connections = len([e for e in proxy.log if e["msg"] == "tls handshake done"])
    assert [reply.json()["length"] for reply in answers] == list(range(100))
    assert [reply.json()["target"] for reply in answers] == [f"/{n}?" for n in range(100)]
    assert connections == (1 if version == "2" else 100)


async def test_no_alpn_means_http11(tmp_path: Path) -> None:
    async with proxied(tmp_path, asgi_upstream(echo)) as proxy:
        out = await curl(proxy, "echo/", "--no-alpn", "-w", "%{http_version}")
        assert out.endswith("1.1")


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with proxied(tmp_path, asgi_upstream(echo)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(b"".join(get("echo", f"/{n}", "TE: trailers") for n in range(20)))
            data = b""
            while data.count(b"\r\n0\r\n\r\n") < 20:
                data += await reader.read(65536)
    places = [data.index(b'"/%d?"' % n) for n in range(20)]
    assert places == sorted(places)


async def test_continue_reaches_the_client(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, fields = await read_head(reader)
        assert fields["expect"] == "100-continue"
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(4) == b"body"
        writer.write(plain_answer(b"done"))

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            head = get("echo", "/", "Expect: 100-continue", "Content-Length: 4")
            writer.write(head.replace(b"GET", b"POST"))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"body")
            assert (await answer(reader))[2] == b"done"


@pytest.mark.parametrize("pinned", ["root", "issuing CA", "leaf"])
async def test_any_certificate_of_the_chain_can_be_the_trusted_one(
    tmp_path: Path, pinned: str
) -> None:
    """curl and Go do the same; the vendor's proxy has Go's TLS."""
    from mcp_proxy.config.model import Tls
    from mcp_proxy.tls.certificates import read_pair
    from mcp_proxy.tls.contexts import server_context
    from pki import Authority, Issued

    root = Authority("upstream root", below=1)
    issuing = Authority("upstream CA", root)
    leaf = issuing.issue("localhost")
    issued = Issued(leaf.cert + issuing.cert, leaf.key)
    pair = read_pair(Tls(*issued.write(tmp_path / "up")))
    context = server_context(pair.chain, pair.key)
    trusted = {"root": root.cert, "issuing CA": issuing.cert, "leaf": leaf.cert}[pinned]
    (tmp_path / "up/ca.crt").write_bytes(trusted)
    policy = {"allowed_ips": ["127.0.0.1"], "tls": {"ca_file": str(tmp_path / "up/ca.crt")}}

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(plain_answer(b"secure"))

    async with raw_upstream(upstream, context) as port:
        routes = {"echo": f"https://localhost:{port}", "other": f"https://127.0.0.1:{port}"}
        async with running_proxy(tmp_path, routes, upstream=policy) as proxy:
            assert await curl(proxy, "echo/") == "secure"
            # A pinned certificate is good only for its names.
            assert await curl(proxy, "other/", "-w", "%{http_code}", "-o", "/dev/null") == "502"


@pytest.mark.parametrize(("trusted", "name"), [(True, True), (False, True), (True, False)])
async def test_https_upstream(tmp_path: Path, trusted: bool, name: bool) -> None:
    """The CA file decides, and the certificate must be for the name, not for the address."""
    from mcp_proxy.config.model import Tls
    from mcp_proxy.tls.certificates import read_pair
    from mcp_proxy.tls.contexts import server_context
    from pki import Authority

    authority = Authority("upstream CA")
    (tmp_path / "up").mkdir()
    files = authority.issue("localhost" if name else "other.lan").write(tmp_path / "up")
    pair = read_pair(Tls(*files))
    context = server_context(pair.chain, pair.key)
    (tmp_path / "up/ca.crt").write_bytes((authority if trusted else Authority()).cert)
    policy = {"allowed_ips": ["127.0.0.1"], "tls": {"ca_file": str(tmp_path / "up/ca.crt")}}

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        assert writer.get_extra_info("ssl_object").server_side
        writer.write(plain_answer(b"secure"))

    async with raw_upstream(upstream, context) as port:
        routes = {"echo": f"https://localhost:{port}"}
        async with running_proxy(tmp_path, routes, upstream=policy) as proxy:
            out = await curl(proxy, "echo/", "-w", "%{http_code}")
            if trusted and name:
                assert out == "secure200"
            else:
                assert out == "Upstream TLS handshake failed\n502"
                line = await proxy.logged("upstream TLS")
                assert ("issuer" in line["msg"]) == (not trusted)
                assert ("localhost" in line["msg"]) == (not name)


async def test_ip_validation(tmp_path: Path) -> None:
    hits: list[str] = []

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hits.append((await read_head(reader))[0])
        writer.write(plain_answer(b"reached"))

    async with raw_upstream(upstream) as port:
        routes = {
            "name": f"http://localhost:{port}",
            "address": f"http://127.0.0.1:{port}",
            "metadata": "http://169.254.169.254:80",
        }
        policy = {"allowed_ips": ["10.0.0.0/8"]}
        async with running_proxy(tmp_path, routes, upstream=policy) as proxy:
            for route, ip in (("name", "127.0.0.1"), ("address", "127.0.0.1"),
                              ("metadata", "169.254.169.254")):  # fmt: skip
                out = await curl(proxy, f"{route}/", "-w", "%{http_code}")
                assert out == "Upstream IP validation failed\n502"
                text = f"IP validation failed: {ip} is not a private address"
                await proxy.logged(text, route=route)
        assert hits == []
        policy_off = {"disable_ip_validation": True}
        async with running_proxy(tmp_path, routes, upstream=policy_off) as proxy:
            assert await curl(proxy, "name/") == "reached"
