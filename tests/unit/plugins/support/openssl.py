"""The openssl command line: maker and judge of certificates that shares no code with ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

EC = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
DOMAIN = "abcd1234.tunnel.example"

CA_EXTENSIONS = {
    "basicConstraints": "critical,CA:TRUE",
    "keyUsage": "critical,keyCertSign,cRLSign",
    "subjectKeyIdentifier": "hash",
}
SERVER_EXTENSIONS = {
    "basicConstraints": "critical,CA:FALSE",
    "extendedKeyUsage": "serverAuth",
    "authorityKeyIdentifier": "keyid:always",
    "subjectAltName": f"DNS:*.{DOMAIN},DNS:{DOMAIN}",
}


def run(*arguments: str | Path, stdin: str = "") -> str:
    """Return the output of openssl; raise CalledProcessError with its messages when it fails."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)], input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise AssertionError(f"openssl {arguments}: {done.stdout}{done.stderr}")
    return done.stdout


def text(pem: str) -> str:
    """Return openssl's description of a certificate."""
    return run("x509", "-noout", "-text", stdin=pem)


def make_key(algorithm: tuple[str, ...] = EC) -> str:
    return run("genpkey", *algorithm)


def make_ca(
    directory: Path,
    key: str = "",
    extensions: dict[str, str | None] | None = None,
    digest: str = "sha256",
    days: int = 365,
) -> tuple[str, str]:
    """Make a self-signed CA: compliant, except for the given extensions (``None``: left out)."""
    key = key or make_key()
    merged = {**CA_EXTENSIONS, **(extensions or {})}
    return _sign(directory, key, merged, digest, days, subject="/CN=Company CA"), key


def make_server(
    directory: Path,
    ca: tuple[str, str],
    key: str = "",
    extensions: dict[str, str | None] | None = None,
    digest: str = "sha256",
    days: int = 90,
) -> tuple[str, str]:
    """Make a server certificate under a CA: compliant, except for the given extensions."""
    key = key or make_key()
    merged = {**SERVER_EXTENSIONS, **(extensions or {})}
    return _sign(directory, key, merged, digest, days, subject="/CN=server", ca=ca), key


def _sign(
    directory: Path,
    key: str,
    extensions: dict[str, str | None],
    digest: str,
    days: int,
    subject: str,
    ca: tuple[str, str] | None = None,
) -> str:
    directory.mkdir(exist_ok=True)
    files = {name: directory / name for name in ("key", "csr", "ext", "ca.crt", "ca.key")}
    files["key"].write_text(key)
    lines = [f"{name}={value}" for name, value in extensions.items() if value is not None]
    files["ext"].write_text("\n".join(lines) + "\n")
    # The test is not about digests that the security level forbids for signing requests.
    run("req", "-new", "-key", files["key"], "-subj", subject, "-out", files["csr"])
    issuer: tuple[str | Path, ...] = ("-signkey", files["key"])
    if ca:
        files["ca.crt"].write_text(ca[0])
        files["ca.key"].write_text(ca[1])
        issuer = ("-CA", files["ca.crt"], "-CAkey", files["ca.key"], "-CAcreateserial")
    common = ("-days", str(days), f"-{digest}", "-extfile", files["ext"])
    return run("x509", "-req", "-in", files["csr"], *issuer, *common)


def verify(directory: Path, ca: str, certificate: str, hostname: str) -> None:
    """Raise unless openssl accepts the certificate for a TLS server of this name."""
    directory.mkdir(exist_ok=True)
    (directory / "ca").write_text(ca)
    (directory / "certificate").write_text(certificate)
    run(
        "verify",
        "-x509_strict",
        "-no-CApath",
        "-purpose",
        "sslserver",
        "-verify_hostname",
        hostname,
        "-CAfile",
        directory / "ca",
        directory / "certificate",
    )


def public_key_of_certificate(pem: str) -> str:
    return run("x509", "-noout", "-pubkey", stdin=pem)


def public_key_of_key(pem: str) -> str:
    return run("pkey", "-pubout", stdin=pem)
