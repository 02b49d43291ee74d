"""Given values are compared with stored ones: without an agreement nothing is deployed."""

from __future__ import annotations

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

#: Nothing of it stays once it speaks of variables instead of the module's options.
SILENT = ", or move the instance to another tunnel with replace: true"


def test_a_comparison_that_fails_without_a_text_is_no_agreement(tmp_path):
    """An "already_stored" that the host says beside it does not help, either."""
    simulation = Simulation(tmp_path)
    simulation.attack("host1", "state_host", merge={"misfit": SILENT})
    status, output = simulation.run()
    assert status != 0
    assert "The variables do not fit /var/lib/mcp-tunnel/default on host1" in output
    assert "no host was touched" in output
    assert "file_set" not in [call["module"] for call in simulation.calls()]
