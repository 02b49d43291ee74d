"""W3C trace context passes through unchanged, and the log names the trace of each request.

The access log says who asked for what, and never anything that may be a credential.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from running import DOMAIN, proxied
from tunnelled import VERSIONS, answer, client, curl, get, raw_client
from upstreams import asgi_upstream, plain_answer, raw_upstream, read_head

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the header fields that it got, and with a trace of its own."""
    headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
    fields = [(b"traceparent", f"{PARENT[:-2]}00".encode()), (b"tracestate", b"up=1,other=2")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": json.dumps(headers).encode()})


@pytest.mark.parametrize("version", VERSIONS)
async def test_trace_context_is_passed_on_untouched(tmp_path: Path, version: str) -> None:
    states = ["congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", " bar@x=1"]
    fields = [("-H", f"traceparent: {PARENT}"), *(("-H", f"tracestate: {s}") for s in states)]
    options = [word for field in fields for word in field]
    async with proxied(tmp_path, asgi_upstream(echo)) as proxy:
        out = await curl(proxy, "echo/mcp", "-i", *options, version=version)
        head, _, body = out.partition("\r\n\r\n")
        seen = [(name, value) for name, value in json.loads(body) if name.startswith("trace")]
        line = await proxy.logged("request finished")
    assert seen == [("traceparent", PARENT), *(("tracestate", s.strip()) for s in states)]
    assert f"traceparent: {PARENT[:-2]}00" in head
    assert "tracestate: up=1,other=2" in head
    assert line["trace_id"] == TRACE


async def test_what_is_no_trace_context_is_passed_on_too(tmp_path: Path) -> None:
    async with proxied(tmp_path, asgi_upstream(echo)) as proxy:
        wrong = f"00-{'0' * 32}-00f067aa0ba902b7-01"
        seen = json.loads(await curl(proxy, "echo/", "-H", f"traceparent: {wrong}"))
        line = await proxy.logged("request finished")
    assert ["traceparent", wrong] in seen
    assert "trace_id" not in line


async def test_nothing_is_added(tmp_path: Path) -> None:
    async with proxied(tmp_path, asgi_upstream(echo)) as proxy:
        seen = json.loads(await curl(proxy, "echo/"))
        line = await proxy.logged("request finished")
    assert not [name for name, _ in seen if name.startswith("trace")]
    assert "trace_id" not in line


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_access_log(tmp_path: Path, version: str) -> None:
    async with proxied(tmp_path, asgi_upstream(echo), access_log=True) as proxy:
        await curl(
            proxy,
            "echo/mcp/a?cursor=abc&flag&b=",
            *("-A", "probe/1.0 (test)", "-H", f"traceparent: {PARENT}"),
            version=version,
        )
        line = await proxy.logged("request finished")
    assert line["seconds"] >= line["upstream_seconds"] > 0
    for varying in ("time", "seconds", "upstream_seconds", "bytes_out"):
        del line[varying]
    assert line == {
        "level": "info",
        "msg": "request finished",
        "route": "echo",
        "method": "GET",
        "host": f"echo.{DOMAIN}",
        "path": "/mcp/a",
        "query": "cursor=***&***&b=***",
        "http": version,
        "status": 200,
        "bytes_in": 0,
        "user_agent": "probe/1.0 (test)",
        "trace_id": TRACE,
    }


SECRET = "planted-5e1f"


@pytest.mark.parametrize("level", ["debug", "info"])
async def test_no_secret_gets_into_any_line(tmp_path: Path, level: str) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, fields = await read_head(reader)
            await reader.readexactly(int(fields.get("content-length", "0")))
            own = (f"Set-Cookie: a={SECRET}", f"Mcp-Session-Id: {SECRET}", f"X-Own: {SECRET}")
            writer.write(plain_answer(SECRET.encode(), *(field.encode() for field in own)))

    fields = [
        f"Authorization: Bearer {SECRET}",
        f"Proxy-Authorization: Basic {SECRET}",
        f"Cookie: session={SECRET}",
        f"Mcp-Session-Id: {SECRET}",
        f"X-Api-Key: {SECRET}",
        f"Referer: https://host/?{SECRET}",
        f"traceparent: {SECRET}",
        f"tracestate: a={SECRET}",
    ]
    targets = [
        f"/mcp?access_token={SECRET}",
        f"/mcp?{SECRET}",
        f"/mcp?a=1&{SECRET}&b=2",
        f"/mcp?a=1;{SECRET}=2",
        f"/mcp??{SECRET}=%00",
        f"/mcp?{SECRET}{'x' * 40}=1",
        f"/mcp;jsessionid={SECRET}/x",
        f"/;{SECRET}?a=%3d{SECRET}",
        f"https://echo.{DOMAIN}/mcp?code={SECRET}#{SECRET}",
    ]
    settings = {"access_log": True, "log_level": level}
    async with proxied(tmp_path, raw_upstream(upstream), **settings) as proxy:
        async with raw_client(proxy) as (reader, writer):
            for target in targets:
                head = get("echo", target, *fields, f"Content-Length: {len(SECRET)}")
                writer.write(head.replace(b"GET", b"POST") + SECRET.encode())
                assert (await answer(reader))[0] == 200
        async with client(proxy, "2") as http:
            reply = await http.post(
                f"https://echo.{DOMAIN}{targets[0]}",
                content=SECRET,
                headers=dict(field.split(": ", 1) for field in fields),
            )
            assert reply.status_code == 200
        # Userinfo has no place in a request: the proxy refuses it, and does not repeat it either.
        for start in (f"https://u:{SECRET}@echo.{DOMAIN}/", "/"):
            async with raw_client(proxy) as (reader, writer):
                head = get("echo", start)
                if start == "/":
                    head = head.replace(b"Host: ", f"Host: u:{SECRET}@".encode())
                writer.write(head)
                assert (await answer(reader))[0] == 400
        proxy.terminate()
        await proxy.ended()  # with its last line
    assert SECRET not in proxy.transcript()
    assert proxy.transcript().count("'/mcp'") >= 6  # the access log was searched, not an empty one
