"""The examples of docs/vault.md, in runs over simulated hosts that ask a stand-in for Vault."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation
from stages import other_collections

from tests.vault.stand_in import ACCESS, Vault

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="session")
def examples() -> dict[str, Any]:
    """The variables of all YAML blocks of the page."""
    found: dict[str, Any] = {}
    for block in _BLOCK.findall((ROOT / "docs/vault.md").read_text()):
        found |= yaml.safe_load(block)
    return found


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    """A Vault with a certificate of a company's CA, which is beside it in ca.crt."""
    ca = openssl.make_ca(tmp_path / "ca")
    names = {"subjectAltName": "DNS:localhost"}
    certificate, key = openssl.make_server(tmp_path / "tls", ca, extensions=names)
    (tmp_path / "ca.crt").write_text(ca[0])
    (tmp_path / "server.pem").write_text(certificate + key)
    with Vault(tmp_path / "server.pem") as server:
        yield server


@pytest.fixture
def connected(examples: dict[str, Any], vault: Vault, tmp_path: Path) -> dict[str, Any]:
    """The page's variables of the connection, with this Vault's place."""
    agent = tmp_path / "agent"
    agent.mkdir()
    (agent / examples["ansible_hashi_vault_token_file"]).write_text(f"{ACCESS}\n")
    here = {
        "ansible_hashi_vault_url": vault.url,
        "ansible_hashi_vault_ca_cert": str(tmp_path / "ca.crt"),
        "ansible_hashi_vault_token_path": str(agent),
    }
    of_connections = {name for name in examples if name.startswith("ansible_hashi_vault_")}
    assert set(here) < of_connections
    return {name: examples[name] for name in of_connections} | here


@pytest.fixture
def simulate(tmp_path: Path, connected: dict[str, Any]) -> Any:
    """Return two simulated replicas in a mode, whose inventory has the page's variables."""

    def make(mode: str, **variables: Any) -> Simulation:
        simulation = Simulation(tmp_path, mode)
        simulation.variables |= connected | variables
        places = (ROOT / ".build/collections", other_collections.path())
        simulation.settings["ANSIBLE_COLLECTIONS_PATH"] = ":".join(map(str, places))
        return simulation

    return make
