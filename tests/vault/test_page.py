"""Values from Vault reach the hosts that need them, and nobody else."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import make_token

from tests.vault.stand_in import ACCESS, Vault

TOKEN_AT = "secret/data/mcp-tunnel/default"
IDENTITY_AT = "identity/oidc/token/mcp-tunnel"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.cGxhbnRlZC1zaWduYXR1cmU"


@pytest.fixture
def token() -> str:
    """A tunnel token."""
    return make_token()


@pytest.fixture
def filled(vault: Vault, token: str) -> Vault:
    """A Vault that has what the page's examples read."""
    vault.secrets[TOKEN_AT] = {"data": {"token": token}, "metadata": {"version": 3}}
    vault.secrets[IDENTITY_AT] = {"client_id": "c", "token": JWT, "ttl": 3600}
    return vault


def reads(vault: Vault) -> Counter[str]:
    """How often each secret was asked for."""
    return Counter(path for path, _token in vault.asked if not path.startswith("auth/"))


def given(simulation: Any, value: str) -> set[tuple[str, str]]:
    """The hosts and modules that got the value."""
    return {
        (call["host"], call["module"])
        for call in simulation.calls()
        if value in json.dumps(call["arguments"])
    }


def test_the_tunnel_token(
    simulate: Any, filled: Vault, examples: dict[str, Any], token: str
) -> None:
    simulation = simulate("manual", mcp_tunnel_token=examples["mcp_tunnel_token"])
    status, output = simulation.run("site", "--diff")
    assert status == 0, output
    assert given(simulation, token)
    assert reads(filled) == {TOKEN_AT: 2}, "once for each host"
    for secret in (token, ACCESS):
        assert secret not in output
    assert not given(simulation, ACCESS)


def test_an_identity(simulate: Any, filled: Vault, examples: dict[str, Any]) -> None:
    simulation = simulate("wif", mcp_tunnel_identity=examples["mcp_tunnel_identity"])
    status, output = simulation.run("site", "--diff")
    assert status == 0, output
    assert {host for host, _module in given(simulation, JWT)} == {"host1"}, "the state host alone"
    assert reads(filled) == {IDENTITY_AT: 2}
    for secret in (JWT, ACCESS):
        assert secret not in output


def seal(vault: Vault, _directory: Path) -> None:
    """Seal it."""
    vault.sealed = True


def deny(vault: Vault, _directory: Path) -> None:
    """Let the policy have nothing."""
    vault.secrets.clear()


def expire(_vault: Vault, directory: Path) -> None:
    """Have another token than Vault knows."""
    (directory / "agent/token").write_text("hvs.expired-but-still-planted\n")


@pytest.mark.parametrize(
    ("fault", "shown"),
    [(seal, "Vault is sealed"), (deny, "Forbidden"), (expire, "Forbidden")],
)
@pytest.mark.parametrize("playbook", ["site", "verify"])
def test_a_vault_that_gives_nothing(
    simulate: Any,
    filled: Vault,
    examples: dict[str, Any],
    tmp_path: Path,
    playbook: str,
    fault: Any,
    shown: str,
) -> None:
    simulation = simulate("manual", mcp_tunnel_token=examples["mcp_tunnel_token"])
    fault(filled, tmp_path)
    status, output = simulation.run(playbook)
    assert status != 0
    assert simulation.calls() == []
    assert "mcp_tunnel_token" in output
    assert shown in output
    assert "planted" not in output


def test_a_certificate_of_another_ca(
    simulate: Any, filled: Vault, examples: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "ca.crt").write_text(openssl.make_ca(tmp_path / "other")[0])
    simulation = simulate("manual", mcp_tunnel_token=examples["mcp_tunnel_token"])
    status, output = simulation.run("verify")
    assert status != 0
    assert filled.asked == []
    assert simulation.calls() == []
    assert "CERTIFICATE_VERIFY_FAILED" in output


def test_facts_that_name_another_vault(
    simulate: Any, filled: Vault, examples: dict[str, Any], tmp_path: Path
) -> None:
    """A hostile host's facts, from a fact cache, outrank the inventory."""
    address = filled.url
    cached = {
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path / "facts"),
    }
    simulation = simulate("manual", mcp_tunnel_token=examples["mcp_tunnel_token"])
    simulation.variables["ansible_hashi_vault_url"] = "https://vault.invalid:8200"
    simulation.settings |= cached
    fact = {"ansible_hashi_vault_url": address, "cacheable": True}
    for_one = {"when": "inventory_hostname == 'host2'"}
    status, output = simulation.run_tasks([{"ansible.builtin.set_fact": fact, **for_one}])
    assert status == 0, output
    status, output = simulation.run("verify")
    assert status != 0
    assert "host2: its facts set variables of Ansible's connections" in output
    assert filled.asked == [], "it was sent the token"
