"""A CA that was looked at and does not fit the variables: nothing of it is used."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.openssl import make_ca
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

SIGNER = {"source": "command", "command": ["/usr/bin/sign"]}


@pytest.mark.parametrize(
    ("signer", "answer", "told"),
    [
        (
            None,
            {"changed": False, "rotating": False},
            "mcp_tunnel_ca_cert: is the CA in use, so there is nothing to rotate to.",
        ),
        (
            SIGNER,
            {"changed": True, "private_key_stored": True},
            "/var/lib/mcp-tunnel/default/ca.key on host1: is there, although mcp_tunnel_signer "
            "signs elsewhere.",
        ),
    ],
)
def test_it_ends_the_rotation(tmp_path, signer, answer, told):
    simulation = Simulation(tmp_path, mode="wif")
    if signer:
        simulation.variables.update(
            mcp_tunnel_signer=signer, mcp_tunnel_ca_cert=make_ca(tmp_path)[0]
        )
    simulation.attack("host1", "tunnel_ca", merge=answer)
    status, output = simulation.run("rotate_ca")
    assert status != 0
    assert told in " ".join(output.split())
    assert "no replica of the tunnel was touched" in output
    modules = [call["module"] for call in simulation.calls()]
    assert "tunnel_ca" in modules
    assert not {"tunnel_token", "firewall", "replica"}.intersection(modules)
