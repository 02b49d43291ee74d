from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import ssl
import textwrap
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mcp_proxy.config.model import Tls, UpstreamPolicy
from mcp_proxy.tls.certificates import CertificateStore, parse_pair, read_pair
from mcp_proxy.tls.contexts import CertificateError, server_context, upstream_context
from mcp_proxy.watch.metrics import Metrics
from pki import Authority, Issued
from running import PATIENCE

HOST = "echo.example.test"
DAMAGED = Authority().issue(HOST)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


class Journal(logging.Handler):
    """Collects (level, message, fields) of the proxy's log."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[int, str, dict[str, object]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entries.append(
            (record.levelno, record.getMessage(), record.__dict__.get("mcp_fields", {}))
        )

    def refusals(self) -> list[str]:
        return [
            str(fields["problem"]) for level, _, fields in self.entries if level == logging.ERROR
        ]


@pytest.fixture
def journal() -> Iterator[Journal]:
    handler = Journal()
    logger = logging.getLogger("mcp_proxy")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


class Live:
    """A store over files in a directory, with the means to change them."""

    def __init__(self, directory: Path, first: Issued) -> None:
        self.directory = directory
        self.tls = Tls(*first.write(directory), poll_interval=0.01)
        self.metrics = Metrics()
        self.store = CertificateStore(self.tls, self.metrics)

    def metric(self, name: str, **labels: str) -> float:
        samples = self.metrics.snapshot()[f"mcp_proxy_certificate_{name}"]
        (value,) = [value for found, value in samples if found == list(labels.values())]
        assert isinstance(value, (int, float))
        return value


@pytest.fixture
def live(tmp_path: Path, authority: Authority, journal: Journal) -> Live:
    return Live(tmp_path, authority.issue(HOST))


def handshake(
    server: ssl.SSLContext, ca: bytes, **client_options: object
) -> tuple[ssl.SSLObject, bytes]:
    """Shake hands in memory; return the client's side and the certificate that it saw (DER)."""
    client = ssl.create_default_context(cadata=ca.decode())
    for name, value in client_options.items():
        setter = getattr(client, name)
        setter(value) if callable(setter) else setattr(client, name, value)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(down, up, server_hostname=HOST)
    server_side = server.wrap_bio(up, down, server_side=True)
    for _ in range(6):
        for side in (client_side, server_side):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    certificate = client_side.getpeercert(binary_form=True)
    assert certificate is not None
    return client_side, certificate


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), (["spdy/3"], None), (None, None)],
)
def test_versions_and_alpn(
    live: Live,
    authority: Authority,
    version: ssl.TLSVersion,
    offered: list[str] | None,
    chosen: str | None,
) -> None:
    options: dict[str, object] = {"minimum_version": version, "maximum_version": version}
    if offered is not None:
        options["set_alpn_protocols"] = offered
    client, _ = handshake(live.store.context, authority.cert, **options)
    assert client.selected_alpn_protocol() == chosen
    assert client.version() == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_and_weak_ciphers_are_refused(live: Live, authority: Authority) -> None:
    for options in (
        {"minimum_version": ssl.TLSVersion.TLSv1_1, "maximum_version": ssl.TLSVersion.TLSv1_1},
        {"maximum_version": ssl.TLSVersion.TLSv1_2, "set_ciphers": "ECDHE-ECDSA-AES128-SHA"},
    ):
        with pytest.raises(ssl.SSLError):
            handshake(live.store.context, authority.cert, **options)


def test_a_new_pair_is_for_new_connections(
    live: Live, authority: Authority, journal: Journal
) -> None:
    old_context = live.store.context
    before = live.metric("expiry_timestamp_seconds")
    renewed = authority.issue(HOST, ends_days=180)
    renewed.write(live.directory)
    assert live.store.poll()
    assert live.store.context is not old_context
    _, seen = handshake(live.store.context, authority.cert)
    assert ssl.DER_cert_to_PEM_cert(seen).encode() == renewed.cert
    _, still = handshake(old_context, authority.cert)
    assert still != seen
    assert live.metric("expiry_timestamp_seconds") > before + 80 * 86400
    assert live.metric("reloads", result="loaded") == 1
    assert not live.store.poll()
    loaded = [fields for _, message, fields in journal.entries if message == "certificate loaded"]
    assert len(loaded) == 2
    assert loaded[1]["names"] == HOST


def encrypted(key: bytes) -> bytes:
    private = serialization.load_pem_private_key(key, None)
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def break_pair(how: str, good: Issued, authority: Authority) -> Issued:
    other = authority.issue(HOST)
    return {
        "half-written certificate": Issued(good.cert[: len(good.cert) // 2], good.key),
        "half-written key": Issued(other.cert, other.key[:-60]),
        "empty certificate": Issued(b"", good.key),
        "garbage key": Issued(good.cert, b"\0\xff garbage"),
        "key of another certificate": Issued(good.cert, other.key),
        "encrypted key": Issued(good.cert, encrypted(good.key)),
        "certificate where the key belongs": Issued(good.cert, good.cert),
        "expired": authority.issue(HOST, begins_days=-9, ends_days=-1),
        "not yet valid": authority.issue(HOST, begins_days=1),
    }[how]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("half-written certificate", "no usable PEM certificate in"),
        ("half-written key", "no usable PEM private key in"),
        ("empty certificate", "no usable PEM certificate in"),
        ("garbage key", "no usable PEM private key in"),
        ("key of another certificate", "does not match the certificate"),
        ("encrypted key", "is encrypted"),
        ("certificate where the key belongs", "no usable PEM private key in"),
        ("expired", "expired at"),
        ("not yet valid", "not valid before"),
    ],
)
def test_a_broken_pair_is_refused_once_and_the_old_one_stays(
    live: Live, authority: Authority, journal: Journal, how: str, said: str
) -> None:
    context = live.store.context
    good = Issued(*(Path(path).read_bytes() for path in (live.tls.cert_file, live.tls.key_file)))
    broken = break_pair(how, good, authority)
    for _ in range(2):
        broken.write(live.directory)
        for _ in range(3):
            assert not live.store.poll()
        assert live.store.context is context
        (problem,) = journal.refusals()
        assert said in problem
        # Nothing from the files is ever quoted, keys included.
        assert "PRIVATE KEY" not in json.dumps([str(entry) for entry in journal.entries])
        assert live.metric("reloads", result="refused") == 1
    # Put back and broken again: this is a new state, so it gets a new line.
    good.write(live.directory)
    assert not live.store.poll()
    broken.write(live.directory)
    assert not live.store.poll()
    assert len(journal.refusals()) == 2
    authority.issue(HOST).write(live.directory)
    assert live.store.poll()


def test_each_distinct_broken_state_gets_a_line(live: Live, journal: Journal) -> None:
    for content in (b"a", b"b"):
        Path(live.tls.cert_file).write_bytes(content)
        live.store.poll()
        live.store.poll()
    Path(live.tls.cert_file).unlink()
    live.store.poll()
    live.store.poll()
    assert len(journal.refusals()) == 3
    assert "No such file" in journal.refusals()[2]


class Tomorrow(datetime):
    """A clock that is a day ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(days=1)


def test_a_pair_that_becomes_valid_is_taken_then(
    live: Live, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.issue(HOST, begins_days=0.5).write(live.directory)
    assert not live.store.poll()

    async def wait() -> None:
        watcher = asyncio.ensure_future(live.store.watch())
        old = live.store.context
        monkeypatch.setattr("mcp_proxy.tls.certificates.datetime", Tomorrow)
        while live.store.context is old:
            assert not watcher.done()
            await asyncio.sleep(0.05)
        watcher.cancel()

    asyncio.run(asyncio.wait_for(wait(), PATIENCE))


def test_an_expired_pair_is_better_than_none(
    tmp_path: Path, authority: Authority, journal: Journal
) -> None:
    live = Live(tmp_path, authority.issue(HOST, begins_days=-9, ends_days=-1))
    assert "expired at" in live.store.pair.invalidity()
    assert len(journal.refusals()) == 1
    # One expired certificate may replace another: that is no step back.
    authority.issue(HOST, begins_days=-9, ends_days=-0.5).write(tmp_path)
    assert live.store.poll()


def test_an_openssl_key_with_its_parameters(tmp_path: Path, authority: Authority) -> None:
    """``openssl ecparam -genkey`` writes a block of parameters before the key."""
    issued = authority.issue(HOST)
    key = serialization.load_pem_private_key(issued.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    traditional = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    live = Live(tmp_path, Issued(issued.cert, parameters + traditional))
    handshake(live.store.context, authority.cert)


def test_a_key_that_systemd_hands_over_is_read_in_place_of_its_file(
    tmp_path: Path, authority: Authority, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may be encrypted then. A renewed certificate of the same key is taken into use."""
    handed = tmp_path / "credentials"
    handed.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    # Without that credential, as for a service that is given others.
    assert not live.store.poll()
    key = Path(live.tls.key_file).read_bytes()
    (handed / "tls.key").write_bytes(key)
    Path(live.tls.key_file).write_bytes(b"Whxqht+dQJax1aZeCGLxmiAAAAABAAAA")
    assert read_pair(live.tls).key == key
    assert not live.store.poll()
    renewed = live.store.pair.chain + b"# renewed\n"
    Path(live.tls.cert_file).write_bytes(renewed)
    assert live.store.poll()
    assert live.store.pair.chain == renewed


def test_a_missing_file_names_field_and_path(tmp_path: Path) -> None:
    with pytest.raises(CertificateError) as caught:
        read_pair(Tls(str(tmp_path / "no.crt"), str(tmp_path / "no.key")))
    assert caught.value.field == "tls.cert_file"
    assert f"cannot read {tmp_path}/no.crt: No such file or directory" in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=500)
@example([(12, 1)], False)  # version 2 of X.509
@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4),
    st.booleans(),
)
def test_no_bytes_are_an_internal_error(changes: list[tuple[int, int]], in_key: bool) -> None:
    """Damaged anywhere, a pair is taken or refused; any other exception would end the proxy."""
    part = DAMAGED.key if in_key else DAMAGED.cert
    lines = part.decode().splitlines()
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    for position, value in changes:
        der[position % len(der)] = value
    body = textwrap.fill(base64.b64encode(der).decode(), 64)
    damaged = f"{lines[0]}\n{body}\n{lines[-1]}\n".encode()
    names = Tls("tls.crt", "tls.key")
    try:
        pair = (
            parse_pair(names, DAMAGED.cert, damaged)
            if in_key
            else parse_pair(names, damaged, DAMAGED.key)
        )
        server_context(pair.chain, pair.key)
        assert isinstance(pair.names(), list)
        assert isinstance(pair.invalidity(), str)
    except CertificateError as error:
        assert error.remedy  # noqa: PT017 (either outcome is right)


def test_upstream_trust(tmp_path: Path, authority: Authority) -> None:
    ca_file = tmp_path / "ca.crt"
    ca_file.write_bytes(authority.cert)
    own = upstream_context(UpstreamPolicy(ca_file=str(ca_file)))
    assert len(own.get_ca_certs()) == 1
    assert own.check_hostname
    assert own.verify_mode is ssl.CERT_REQUIRED
    both = upstream_context(UpstreamPolicy(ca_file=str(ca_file), include_system_cas=True))
    assert len(both.get_ca_certs()) >= 1
    ca_file.write_text("garbage")
    with pytest.raises(
        CertificateError, match=r"upstream\.tls\.ca_file: no usable PEM certificate"
    ):
        upstream_context(UpstreamPolicy(ca_file=str(ca_file)))
