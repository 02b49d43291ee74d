"""The Tunnels API and the identity platforms on this machine's loopback, without a lab."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import anthropic
from anthropic.lib.credentials import WorkloadIdentityCredentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.identity.directory import IdentityDirectory
from lab.tests.loopback import free_port, wait_for
from lab.tunnels_api.directory import ApiDirectory
from lab.tunnels_api.state import State
from lab.wire import control

AUDIENCE = "https://api.anthropic.com"


class _Process:
    """A service of the lab, as a process that can be started again."""

    def __init__(self, socket: Path, *argv: str) -> None:
        self._argv = [sys.executable, "-m", *argv]
        self._socket = socket
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._argv)
        wait_for(self._ready)

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"{self._argv} ended"
        try:
            control.ask(self._socket, "the service", "status")
        except Exception:
            return False
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Identity(_Process):
    """The identity platforms at `url`; issuers below it."""

    def __init__(self, path: Path) -> None:
        self.directory = IdentityDirectory(path)
        place = f"127.0.0.1:{free_port()}"
        self.url = f"http://{place}"
        super().__init__(
            self.directory.control,
            *("lab.identity", "--directory", str(path), "--bind", place),
            *("--issuers-below", self.url),
        )

    def ask(self, verb: str, *arguments: object, **options: object) -> Any:
        return control.ask(
            self.directory.control, "the identity platforms", verb, *arguments, **options
        )

    def token(
        self, platform: str = "kubernetes", claims: dict[str, Any] | None = None, **options: object
    ) -> str:
        """A JWT of the platform's issuer, for the API unless claimed otherwise."""
        every = {"aud": AUDIENCE, **(claims or {})}
        return str(self.ask("issue", platform, every, **options)["token"])


class Api(_Process):
    """The Tunnels API at `url`; `options` go to its command line."""

    def __init__(self, path: Path, identity: Identity, *options: str) -> None:
        self.identity = identity
        self.directory = ApiDirectory(path)
        self.state: State = self.directory.fill()
        place = f"127.0.0.1:{free_port()}"
        self.url = f"http://{place}"
        super().__init__(
            self.directory.control,
            *("lab.tunnels_api", "--directory", str(path), "--bind", place, *options),
        )

    def reset(self) -> None:
        """Forget everything but the process."""
        self.state = self.directory.fill()
        self.directory.audit.path.unlink(missing_ok=True)
        self.ask("clear-faults")

    def ask(self, verb: str, *arguments: object, **options: object) -> Any:
        return control.ask(self.directory.control, "the Tunnels API", verb, *arguments, **options)

    def audit(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("audit")
        return found

    def add_rule(self, platform: str = "kubernetes", **options: object) -> dict[str, Any]:
        """A rule for the platform's issuer and subject, unless `options` say otherwise."""
        facts = self.identity.ask("status")[platform]
        every = {"issuer": facts["issuer"], "subject": facts["subject"], **options}
        return dict(self.ask("add-rule", **every))

    def credentials(
        self, rule: dict[str, Any], token: str | None = None, **options: Any
    ) -> WorkloadIdentityCredentials:
        """The published client's credentials, bound to this API."""
        made = WorkloadIdentityCredentials(
            identity_token_provider=lambda: token or self.identity.token(),
            federation_rule_id=rule["id"],
            organization_id=options.pop("organization_id", self.state["organization_id"]),
            **options,
        )
        made.bind_base_url(self.url)
        return made

    def client(
        self, rule: dict[str, Any] | None = None, token: str | None = None, **options: Any
    ) -> anthropic.Anthropic:
        """The published client, without retries."""
        return anthropic.Anthropic(
            base_url=self.url,
            credentials=self.credentials(rule or self.add_rule(), token, **options),
            max_retries=0,
        )


def authority(
    key: Any = None,
    *,
    ca: bool = True,
    critical: bool = True,
    key_id: bool = True,
    cert_sign: bool = True,
    begins: float = -3600,
    ends: float = 86400,
    digest: Any = None,
    padding: int = 0,
) -> str:
    """A CA certificate as PEM, valid by default; times in seconds from now."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tunnel CA")])
    moment = datetime.now(timezone.utc)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(moment + timedelta(seconds=begins))
        .not_valid_after(moment + timedelta(seconds=ends))
        .add_extension(x509.BasicConstraints(ca, None), critical=critical)
        .add_extension(usage, critical=True)
    )
    if key_id:
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if padding:
        names = [x509.DNSName(f"{number}.example.com") for number in range(padding)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(key, digest or hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def in_seconds(seconds: float) -> int:
    """A time for a claim."""
    return int(time.time() + seconds)
