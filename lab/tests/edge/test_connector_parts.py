"""Parts of the stand-in, each against a judge that shares no code with it."""

from __future__ import annotations

import struct
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import capnp  # type: ignore[import-untyped]
import pytest

from lab import edge
from lab.connector.bundle import build
from lab.connector.capnp_wire import Struct, Text, WireError, decode, encode
from lab.connector.discovery import _name
from lab.connector.flags import Usage, parse
from lab.connector.main import Backoff

_SCHEMA: Any = capnp.load(str(Path(edge.__file__).with_name("registration.capnp")))


def test_what_we_encode_is_what_pycapnp_reads() -> None:
    message = encode(
        Struct(
            struct.pack("<BBB", 1, 2, 3),
            (
                Struct(pointers=(uuid.UUID(int=7).bytes, None, Text("2026.10.0"), Text("é"))),
                b"\x0a\x4d",
            ),
        )
    )
    with _SCHEMA.Options.from_bytes(message) as options:
        assert bytes(options.connector.id) == uuid.UUID(int=7).bytes
        assert (options.connector.version, options.connector.platform) == ("2026.10.0", "é")
        assert list(options.connector.features) == []
        assert bytes(options.localAddress) == b"\x0a\x4d"
        assert (options.replaceExisting, options.compression, options.attempts) == (True, 2, 3)


def test_what_pycapnp_encodes_is_what_we_read() -> None:
    answer = _SCHEMA.Answer.new_message()
    refusal = answer.outcome.init("refusal")
    refusal.cause, refusal.retryAfter, refusal.shouldRetry = "no", 10**12, True
    buffer = bytearray(answer.to_bytes() + b"next")
    read = decode(buffer)
    assert read is not None
    assert buffer == b"next"
    detail = read.struct(0)
    assert detail is not None
    assert read.number(0, 2) == 0
    assert (detail.text(0), detail.number(0, 8), detail.number(8, 1)) == ("no", 10**12, 1)
    assert detail.struct(5) is None
    assert detail.number(800, 8) == 0


def test_incomplete_and_unreadable_messages() -> None:
    whole = encode(Struct(b"12345678"))
    for length in range(len(whole)):
        assert decode(bytearray(whole[:length])) is None
    with pytest.raises(WireError, match="several segments"):
        decode(bytearray(struct.pack("<III", 1, 1, 1) + bytes(20)))
    with pytest.raises(WireError, match="without a root"):
        decode(bytearray(struct.pack("<II", 0, 1) + bytes(8)))


def test_compressed_names() -> None:
    """RFC 1035 §4.1.4: a pointer ends a name and may lead to another pointer."""
    data = b"\x04argo\x03com\x00" + b"\x07region1\xc0\x00" + b"\x02v2\xc0\x0a"
    assert _name(data, 0) == ("argo.com", 10)
    assert _name(data, 10) == ("region1.argo.com", 20)
    assert _name(data, 20) == ("v2.region1.argo.com", 25)


def test_flags_as_the_unit_gives_them(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc\n")
    line = (
        "tunnel --no-autoupdate --metrics 127.0.0.1:20242 --protocol http2 --edge-ip-version 4"
        f" --grace-period 1m30s --loglevel warn run --token-file {token} --url=http://127.0.0.1:8081"
    )
    options = parse(line.split())
    assert options is not None
    assert (options.token, options.metrics) == ("abc", "127.0.0.1:20242")
    assert (options.protocol, options.edge_ip_version, options.loglevel) == ("http2", "4", "warn")
    assert (options.grace_period, options.url) == (90.0, "http://127.0.0.1:8081")


def test_environment_counts_after_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNNEL_TOKEN", "from-environment")
    monkeypatch.setenv("TUNNEL_URL", "http://127.0.0.1:1")
    options = parse(["tunnel", "run", "--url", "http://127.0.0.1:2"])
    assert options is not None
    assert (options.token, options.url) == ("from-environment", "http://127.0.0.1:2")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("tunnel", 255),
        ("tunnel run", 255),
        ("tunnel --protocol carrier-pigeon run --token x", 1),
        ("tunnel --grace-period soon run --token x", 0),
        ("tunnel --metrics", 0),
        ("access", 1),
    ],
)
def test_unusable_command_lines(line: str, status: int) -> None:
    with pytest.raises(Usage) as raised:
        parse(line.split())
    assert raised.value.status == status


def test_waits_grow_up_to_a_limit() -> None:
    """Measured: up to 20 s at first and growing; `--retries 0` keeps it at 10 s."""
    backoff = Backoff(10.0, 5)
    longest = []
    for _ in range(6):
        longest.append(backoff.longest())
        assert backoff.wait() <= longest[-1]
    assert longest == [20, 40, 80, 160, 320, 320]
    assert Backoff(10.0, 0, failures=9).longest() == 10


def test_the_bundle_is_reproducible_and_runs_on_debians_python(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    build(first)
    time.sleep(1.1)  # archives hold the times of their members
    build(second)
    assert first.read_bytes() == second.read_bytes()
    done = subprocess.run(
        [str(first), "--version"], capture_output=True, text=True, env={}, cwd="/", check=True
    )
    assert done.stdout.startswith("cloudflared version 2026.10.0 (built")
