"""Messages between supervisor and worker: the same in any pieces, or out of step."""

from __future__ import annotations

import json

from inputs import pieces
from mcp_proxy.process.control import MessageDecoder, OutOfStep, encode_message


def _run(parts: list[bytes]) -> tuple[list[object], bool]:
    decoder = MessageDecoder()
    found: list[object] = []
    for part in parts:
        try:
            found += decoder.feed(part)
        except OutOfStep as error:
            assert str(error)
            return found, True
    return found, False


def one_input(data: bytes) -> None:
    """After a byte for the pieces: bytes as they are, and in a message."""
    if len(data) < 2:
        return
    whole, failed = _run([data[1:]])
    in_pieces, failed_too = _run(pieces(data[1:], data[0]))
    assert failed == failed_too
    # Of one read nothing is handed on if anything in it is wrong.
    assert in_pieces[: len(whole)] == whole
    assert failed or in_pieces == whole
    assert all(isinstance(message["kind"], str) for message in in_pieces)  # type: ignore[index]

    text = data[1:].decode("latin-1")
    wire = encode_message(
        "settings", config={"text": text}, pair=[text, None, 1.5, True]
    ) + encode_message(text)
    messages, failed = _run(pieces(wire, data[0] | 64))
    assert not failed
    assert messages == [
        {"kind": "settings", "config": {"text": text}, "pair": [text, None, 1.5, True]},
        {"kind": text},
    ]
    # Nothing is ever longer than it says.
    assert json.loads(wire[4 : 4 + int.from_bytes(wire[:4], "big")])["kind"] == "settings"
