"""The identity platforms and the Tunnels API by https, with certificates of a private CA."""

from __future__ import annotations

from pathlib import Path

from lab.core.credentials import issue
from lab.tests.loopback import free_port
from lab.tests.platforms import Api, Identity


class _SecureIdentity(Identity):
    def __init__(self, path: Path, tls: list[str]) -> None:
        self._tls = tls
        super().__init__(path)

    def start(self) -> None:
        """Issuers and endpoints stand below an https URL, whose name the certificate has."""
        port = free_port()
        self.url, self.place = f"https://localhost:{port}", f"127.0.0.1:{port}"
        self._argv = [
            *self._argv[:3],
            *("--directory", str(self.directory.path), "--bind-tls", self.place, *self._tls),
            *("--issuers-below", self.url),
        ]
        super().start()


class Secure:
    """`identity` and `api`, and the CA file `ca` for clients that trust them."""

    def __init__(self, path: Path) -> None:
        issued = issue("Contract CA", ("localhost",))
        self.ca, certificate, key = (path / name for name in ("ca.crt", "tls.crt", "tls.key"))
        self.ca.write_text(issued.ca)
        certificate.write_text(issued.certificate)
        key.write_text(issued.key)
        tls = ["--certificate", str(certificate), "--key", str(key)]
        for name in ("identity", "api"):
            (path / name).mkdir()
        self.identity = _SecureIdentity(path / "identity", tls)
        issuers = ("--issuers-at", self.identity.place, "--issuers-ca", str(self.ca))
        self.api = Api(path / "api", self.identity, *tls, *issuers)
        self.api.url = self.api.url.replace("http://127.0.0.1", "https://localhost")

    def kill(self) -> None:
        self.api.kill()
        self.identity.kill()
