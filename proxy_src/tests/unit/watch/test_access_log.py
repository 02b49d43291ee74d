from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.http.messages import RequestHead
from mcp_proxy.watch import log
from mcp_proxy.watch.access_log import AccessLog


def request(target: bytes = b"/mcp", **fields: bytes) -> RequestHead:
    headers = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
    return RequestHead(b"GET", target, b"echo.t.example", headers, 0, "1.1")


def finish(
    full: bool,
    head: RequestHead,
    level: str = "info",
    message: tuple[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The lines that a request leaves at its end."""
    stream = io.StringIO()
    log.configure(level, stream, as_json=True)
    AccessLog(full).finished(head, "echo", 200, 1, 2, 0.5, 0.25, None, message)
    for handler in logging.getLogger().handlers:
        handler.flush()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, log.logger.level, logging.raiseExceptions
    yield
    root.handlers[:], level, own, logging.raiseExceptions = before
    root.setLevel(level)
    log.logger.setLevel(own)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("trace", [False, True])
def test_what_the_client_says_about_its_message(full: bool, trace: bool) -> None:
    fields = {"traceparent": b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"} if trace else {}
    (call,) = finish(full, request(**fields), message=("tools/call", "search"))
    assert (call["mcp_method"], call["mcp_tool"]) == ("tools/call", "search")
    (listing,) = finish(full, request(**fields), message=("tools/list", ""))
    assert listing["mcp_method"] == "tools/list"
    assert "mcp_tool" not in listing
    (silent,) = finish(full, request(**fields))
    assert not {"mcp_method", "mcp_tool"} & silent.keys()


def test_without_the_setting_a_line_tells_no_path() -> None:
    (line,) = finish(False, request(b"/mcp?a=b", user_agent=b"probe"))
    del line["time"]
    assert line == {
        "level": "info",
        "msg": "request finished",
        "route": "echo",
        "method": "GET",
        "status": 200,
        "bytes_in": 1,
        "bytes_out": 2,
        "seconds": 0.5,
    }


@pytest.mark.parametrize("level", ["debug", "info", "warn", "error"])
def test_the_access_log_is_written_at_any_level(level: str) -> None:
    (line,) = finish(True, request(user_agent=b"probe"), level)
    assert (line["path"], line["user_agent"], line["upstream_seconds"]) == ("/mcp", "probe", 0.25)
    assert len(finish(False, request(), level)) == (level in ("debug", "info"))


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", None),
        (b"/a?", "/a", None),
        (b"/a?b=c&d=e", "/a", "b=***&d=***"),
        (b"/a?b", "/a", "***"),
        (b"/a?b&&c=&=d", "/a", "***&c=***&***"),
        (b"/a?b=c=d?e=f", "/a", "b=***"),
        (b"/a?" + b"x" * 41 + b"=1", "/a", "***"),
        (b"/a?a%62=1&caf\xc3\xa9=1", "/a", "***&***"),
        (b"/a;v=1/b;w", "/a;***/b;***", None),
        (b"*", "*", None),
    ],
)
def test_what_is_left_of_a_target(target: bytes, path: str, query: str | None) -> None:
    (line,) = finish(True, request(target))
    assert (line["path"], line.get("query")) == (path, query)


@given(st.binary(max_size=60), st.booleans())
def test_no_target_breaks_the_log(target: bytes, full: bool) -> None:
    (line,) = finish(full, request(target))
    assert line["msg"] == "request finished"
