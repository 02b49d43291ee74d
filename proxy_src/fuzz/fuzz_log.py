"""Lines of the log: one line of printable ASCII each, and in JSON what was meant."""

from __future__ import annotations

import json

from mcp_proxy.watch.log_forms import MAX_VALUE, JsonForm, TextForm

_STAMP = "2026-01-01T00:00:00.000Z"
_JSON, _TEXT = JsonForm(), TextForm()


def one_input(data: bytes) -> None:
    """*data* is a value that somebody else has chosen, as bytes, as text and as a message."""
    # Of all planes, and with halves of surrogate pairs.
    text = "".join(chr(byte << 8 | 1) for byte in data) + data.decode("utf-8", "replace")
    decoded = data.decode("latin-1")
    for value in (data, text, decoded, bytearray(data)):
        figures = {"n": len(data), "f": round(len(data) / 7, 6)}
        given = {"host": value, **figures, "b": True}
        for msg in ("request finished", decoded):
            line = _JSON.line(_STAMP, "info", msg, {"none": None, **given})
            _check(line)
            read = json.loads(line)
            assert list(read) == ["time", "level", "msg", "host", "n", "f", "b"]
            assert read["msg"] == msg
            assert read["n"] == len(data)
            if isinstance(value, str) and len(value) <= MAX_VALUE:
                assert read["host"] == json.loads(json.dumps(value))
            _check(_TEXT.line(_STAMP, "info", msg, {"none": None, **given}))
        for form in (_JSON, _TEXT):
            labels = {"host": value, "b": True}
            whole = form.line(_STAMP, "info", "request finished", {**labels, **figures})
            template = form.template("info", "request finished", labels, list(figures))
            assert template % (_STAMP, *figures.values()) == whole


def _check(line: str) -> None:
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 20 * MAX_VALUE + 12 * 4096
