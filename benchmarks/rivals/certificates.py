"""A CA and a P-256 server certificate for one benchmark run."""

from __future__ import annotations

from pathlib import Path

from lab.core.credentials import issue, write_secret


def make_certificates(directory: Path, domain: str) -> None:
    """Writes ca.crt, tls.crt, tls.key and haproxy.pem (both of them) for ``*.domain``."""
    made = issue("benchmark CA", (f"*.{domain}", domain))
    (directory / "ca.crt").write_text(made.ca)
    (directory / "tls.crt").write_text(made.certificate)
    write_secret(directory / "tls.key", made.key)
    write_secret(directory / "haproxy.pem", made.certificate + made.key)
