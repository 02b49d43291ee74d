"""The WebSocket's opening handshake: one answer, the same in any pieces."""

from __future__ import annotations

from inputs import pieces
from mcp_proxy.tunnel.websocket import WebSocketLayer, WebSocketRefused


def _run(parts: list[bytes]) -> tuple[bool, bool, bytes, bytes]:
    layer = WebSocketLayer()
    payload = b""
    refused = False
    for part in parts:
        try:
            payload += b"".join(layer.receive(part))
        except WebSocketRefused:
            refused = True
            break
    output = layer.output()
    assert output[:9] in (b"", b"HTTP/1.1 "), output
    assert refused == (output[9:11] in (b"40", b"41", b"42", b"43", b"50")), output
    assert layer.open == (output[9:12] == b"101")
    assert not (refused and payload)
    return layer.open, refused, payload, output[:12]


def one_input(data: bytes) -> None:
    """*data* is what comes on a new connection, after a byte that says in which pieces."""
    if len(data) > 1:
        assert _run(pieces(data[1:], data[0])) == _run([data[1:]])
