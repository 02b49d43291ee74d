"""Runs of roles/provision: its modules in its order, with one access token for each run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    Outcome,
    run_module,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from lab.tests.platforms import Api
from lab.tunnels_api.state import State
from lab.tunnels_api.tunnels import owned

CREDENTIALS = {"tunnel-id", "tunnel-domain", "tunnel-token", "ca.crt", "ca.key"}


@dataclass(frozen=True)
class Run:
    """The outcomes of one run's modules, up to the first that failed, and the calls it made."""

    outcomes: list[Outcome]
    calls: list[str]

    @property
    def failed(self) -> bool:
        return self.outcomes[-1].failed

    @property
    def message(self) -> str:
        """The message of the failure."""
        return self.outcomes[-1].message

    @property
    def changed(self) -> bool:
        return any(outcome.changed for outcome in self.outcomes)


@dataclass(frozen=True)
class Snapshot:
    """The API's state, a copy of the state directory, and the options that go with them."""

    state: State
    path: Path
    options: dict[str, Any]


class Site:
    """The state directory of one instance, and the options of its modules."""

    def __init__(self, api: Api, path: Path, identity_file: Path, session_file: Path) -> None:
        self.api = api
        self.path = path
        self.session_file = session_file
        self.rule = api.add_rule()
        self.options: dict[str, Any] = {
            "api_url": api.url,
            "api_retries": 1,
            "federation_rule_id": self.rule["id"],
            "organization_id": api.state["organization_id"],
            "service_account_id": self.rule["service_account_id"],
            "workspace_id": "default",
            "identity_source": "file",
            "identity_file": str(identity_file),
            "session_file": str(session_file),
        }

    def begin_with(self, snapshot: Snapshot) -> None:
        """Takes the place of an instance that was provisioned."""
        self.api.directory.store.create(snapshot.state)
        shutil.copytree(snapshot.path, self.path)
        self.options = dict(snapshot.options)

    def provision(self, **tunnel: str) -> Run:
        """Run the modules as site.yml does. ``tunnel``: options of the module tunnel."""
        return self._run(("tunnel", tunnel), ("tunnel_token", {}), ("tunnel_ca", {}))

    def rotate(self) -> Run:
        """Run the modules as rotate_token.yml and rotate_ca.yml do."""
        return self._run(
            ("tunnel", {}),
            ("tunnel_token", {"token_version": "2"}),
            ("tunnel_ca", {"phase": "added"}),
            ("tunnel_ca", {"phase": "retired"}),
        )

    def module(self, name: str, **options: Any) -> Outcome:
        """Runs one module."""
        if name in ("tunnel_token", "tunnel_ca"):
            options = {"provisioning": "wif", **options}
        outcome = run_module(name, path=str(self.path), **{**self.options, **options})
        for secret in self._secrets():
            assert secret not in outcome.everything
        return outcome

    def _run(self, *modules: tuple[str, dict[str, Any]]) -> Run:
        seen, outcomes = len(self.api.audit()), []
        for name, options in modules:
            outcomes.append(self.module(name, **options))
            if outcomes[-1].failed:
                break
        self.session_file.unlink(missing_ok=True)
        return Run(outcomes, [entry["call"] for entry in self.api.audit()[seen:]])

    def stored(self, name: str) -> str:
        return (self.path / name).read_text()

    def fingerprint(self) -> str:
        """The fingerprint of the stored CA."""
        certificate = x509.load_pem_x509_certificate(self.stored("ca.crt").encode())
        return certificate.fingerprint(hashes.SHA256()).hex()

    def _secrets(self) -> list[str]:
        """The secrets that exist now, which no module may reveal."""
        paths = [
            self.path / name
            for name in ("tunnel-token", "ca.key", "ca-next.key", "ca-previous.key")
        ]
        texts = [path.read_text() for path in paths if path.exists()]
        secrets = [text.splitlines()[1] if "KEY" in text else text for text in texts]
        if self.session_file.exists():
            secrets.append(self.session_file.read_text().split('"access_token": "')[1][:40])
        identity = Path(self.options["identity_file"])
        given = identity.read_text().strip() if identity.is_file() else ""
        return [secret for secret in (*secrets, given) if len(secret) >= 40]


def check_nothing_left(site: Site) -> None:
    """API and state directory agree, nothing is left over, and the next run changes nothing."""
    [tunnel] = site.api.directory.store.read()["tunnels"]
    assert tunnel["archived_at"] is None
    assert site.stored("tunnel-id") == tunnel["id"]
    assert site.stored("tunnel-domain") == tunnel["domain"]
    assert site.stored("tunnel-token") == owned(tunnel).token
    active = [one["fingerprint"] for one in tunnel["certificates"] if not one["archived_at"]]
    assert active == [site.fingerprint()]
    names = {path.name for path in site.path.iterdir()}
    assert names - {"token-version"} == CREDENTIALS
    before = site.api.ask("status")["tunnels"]
    idle = site.provision()
    assert not idle.failed, idle.message
    assert not idle.changed
    assert idle.calls == ["exchange", "get", "reveal_token", "list_certificates"]
    assert site.api.ask("status")["tunnels"] == before
