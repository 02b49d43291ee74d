"""The certificate is replaced with something broken: clients still get the one that works."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from pki import Authority, Issued, put
from running import DOMAIN, RunningProxy, becomes, proxied
from tunnelled import answer, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head

Breaks = Callable[[Path, Path], None]
GOOD = Authority().issue(f"*.{DOMAIN}", DOMAIN)
OTHER = Authority().issue(f"*.{DOMAIN}", DOMAIN)


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_head(reader)
        writer.write(plain_answer(b"ok"))


def pair(cert: bytes, key: bytes) -> Breaks:
    def write(cert_file: Path, key_file: Path) -> None:
        put(cert_file, cert)
        put(key_file, key)

    return write


def issued(begins: float, ends: float) -> Breaks:
    made = Authority().issue(f"*.{DOMAIN}", begins_days=begins, ends_days=ends)
    return pair(made.cert, made.key)


def encrypted(key: bytes) -> bytes:
    loaded = serialization.load_pem_private_key(key, None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def missing(cert_file: Path, key_file: Path) -> None:
    cert_file.unlink()


def a_directory(cert_file: Path, key_file: Path) -> None:
    cert_file.unlink(missing_ok=True)
    cert_file.mkdir()


def nothing_left(cert_file: Path, key_file: Path) -> None:
    cert_file.rmdir()
    cert_file.parent.rename(cert_file.parent.with_name("away"))


def back(cert_file: Path, key_file: Path) -> None:
    cert_file.parent.with_name("away").rename(cert_file.parent)
    pair(GOOD.cert, b"")(cert_file, key_file)


def endless(cert_file: Path, key_file: Path) -> None:
    cert_file.unlink()
    cert_file.symlink_to("/dev/zero")


def whole_again(cert_file: Path, key_file: Path) -> None:
    cert_file.unlink()
    pair(GOOD.cert, OTHER.key)(cert_file, key_file)


CASES: tuple[tuple[Breaks, str], ...] = (
    (pair(b"garbage\n", GOOD.key), "no usable PEM certificate in"),
    (pair(b"\0\xff" * 5000, GOOD.key), "no usable PEM certificate in"),
    (pair(b"", GOOD.key), "no usable PEM certificate in"),
    (pair(GOOD.cert[: len(GOOD.cert) // 2], GOOD.key), "no usable PEM certificate in"),
    (pair(GOOD.cert.replace(b"M", b"N", 3), GOOD.key), "no usable PEM certificate in"),
    (pair(GOOD.key, GOOD.cert), "no usable PEM certificate in"),
    (pair(GOOD.cert, b"garbage\n"), "no usable PEM private key in"),
    (pair(GOOD.cert, b""), "no usable PEM private key in"),
    (pair(GOOD.cert, GOOD.key[: len(GOOD.key) // 2]), "no usable PEM private key in"),
    (pair(GOOD.cert, OTHER.key), "does not match the certificate in"),
    (pair(GOOD.cert, encrypted(GOOD.key)), "is encrypted"),
    (issued(-90, -1), "expired at"),
    (issued(1, 90), "not valid before"),
    (missing, "cannot read"),
    (a_directory, "cannot read"),
    (nothing_left, "cannot read"),
    (back, "no usable PEM private key in"),
    (endless, "no usable PEM certificate in"),
    (whole_again, "does not match the certificate in"),
)


async def presented(proxy: RunningProxy) -> bytes:
    """The certificate that a new client gets, after a request that was answered."""
    async with raw_client(proxy) as (reader, writer):
        writer.write(get())
        assert (await answer(reader))[0] == 200
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return shown


async def test_what_does_not_work_is_not_used(tmp_path: Path) -> None:
    cert_file, key_file = tmp_path / "tls/tls.crt", tmp_path / "tls/tls.key"
    tls = {"cert_file": str(cert_file), "key_file": str(key_file), "poll_interval": "30ms"}
    async with proxied(tmp_path, raw_upstream(polite), tls=tls) as proxy:
        first = await presented(proxy)
        async with raw_client(proxy) as (reader, writer):
            for damage, problem in CASES:
                seen = len(proxy.log)
                damage(cert_file, key_file)
                line = await proxy.logged(
                    "new certificate refused, the old one stays in use", after=seen
                )
                while problem not in line["problem"]:  # the two files change one by one
                    line = await proxy.logged("refused", after=proxy.log.index(line) + 1)
                assert line["remedy"]
                assert await presented(proxy) == first
            seen = len(proxy.log)
            new: Issued = proxy.authority.issue(f"*.{DOMAIN}")
            pair(new.cert, new.key)(cert_file, key_file)
            await proxy.logged("certificate loaded", after=seen)
            # The supervisor has loaded it, and gives it to the worker.
            wanted = ssl.PEM_cert_to_DER_cert(new.cert.decode())
            await becomes(wanted, lambda: presented(proxy))
            # A client that was connected before has noticed nothing.
            writer.write(get())
            assert (await answer(reader))[0] == 200


async def test_one_line_however_long_it_lasts(tmp_path: Path) -> None:
    cert_file = tmp_path / "tls/tls.crt"
    tls = {
        "cert_file": str(cert_file),
        "key_file": str(tmp_path / "tls/tls.key"),
        "poll_interval": "10ms",
    }
    async with proxied(tmp_path, raw_upstream(polite), tls=tls) as proxy:
        put(cert_file, b"garbage\n")
        await proxy.logged("new certificate refused")
        for _ in range(20):
            await presented(proxy)
        refusals = [line for line in proxy.log if "certificate refused" in line["msg"]]
        assert len(refusals) == 1
