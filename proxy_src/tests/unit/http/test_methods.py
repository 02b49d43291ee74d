"""The same methods in both versions of HTTP."""

from __future__ import annotations

import pytest
from fakes import FakeConnection, Requests
from mcp_proxy.config.model import Limits
from mcp_proxy.http.rules import METHODS, Refusal
from mcp_proxy.http1.server import Http1Server
from mcp_proxy.http2.frames import StreamFault
from mcp_proxy.http2.head import interpret, request_head

# IANA's registry of methods, those of RTSP, which the parser has, too, and others.
REGISTERED = (
    b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE"
    b" MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI"
    b" PROPFIND PROPPATCH PUT QUERY REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK"
    b" UPDATE UPDATEREDIRECTREF VERSION-CONTROL"
).split()
OTHERS = (
    b"M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE SOURCE DESCRIBE ANNOUNCE SETUP PLAY PAUSE"
    b" TEARDOWN GET_PARAMETER SET_PARAMETER REDIRECT RECORD FLUSH SMUGGLE get XGET"
).split()


def over_http1(method: bytes) -> bool:
    requests = Requests()
    layer = Http1Server(requests, FakeConnection(), Limits())
    layer.receive(method + b" / HTTP/1.1\r\nHost: x.example\r\n\r\n")
    return bool(requests)


def over_http2(method: bytes) -> bool:
    pseudo = {b":method": method, b":scheme": b"https", b":authority": b"x.example", b":path": b"/"}
    try:
        request_head([interpret(*field) for field in pseudo.items()], ended=True)
    except (Refusal, StreamFault):
        return False
    return True


@pytest.mark.parametrize("method", sorted({*METHODS, *REGISTERED, *OTHERS}))
def test_a_method_is_known_in_both_versions_or_in_none(method: bytes) -> None:
    known = method in METHODS and method != b"CONNECT"
    assert (over_http1(method), over_http2(method)) == (known, known)
