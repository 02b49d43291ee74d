"""The vendor's package on Debian, with apt's lists in any state."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import openpgp
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    Target,
    release_for,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.plugin_utils.releases import (
    test_openpgp,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.bundles import write_bundle
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

UNKNOWN = {"failed": True, "msg": "No package matching 'cloudflared' is available"}


@pytest.fixture
def simulation(tmp_path):
    """One replica that gets the package, whose repository's files are there."""
    made = Simulation(tmp_path)
    made.hosts = {"host1": {}}
    version = release_for(Target("3.11.2", "x86_64"), sys.executable).version
    armored = openpgp.armor(openpgp.dearmor(test_openpgp.KEY)).encode()
    key = f"key-{test_openpgp.FINGERPRINT}.asc"
    files = {f"proxy-{version}.tar.gz": b"pretends to be the proxy", key: armored}
    made.variables |= {
        "mcp_tunnel_bundle": str(write_bundle(tmp_path / "with-key", files)),
        "cloudflared_install_method": "package",
        "cloudflared_package_key_fingerprint": test_openpgp.FINGERPRINT,
    }
    made.attack("host1", "apt", arguments={"update_cache": False}, merge=UNKNOWN)
    return made


def updates(simulation):
    """Whether each call of apt was to update the lists."""
    calls = simulation.calls()
    return [call["arguments"]["update_cache"] for call in calls if call["module"] == "apt"]


def test_lists_that_do_not_know_the_package_are_updated(simulation):
    """A run was killed after it had written the repository's files, and before apt read them."""
    status, output = simulation.run("site")
    assert status == 0, output[-3000:]
    assert updates(simulation) == [False, True]


def test_a_package_that_does_not_exist_is_a_failure(simulation):
    simulation.attack("host1", "apt", merge=UNKNOWN)
    status, output = simulation.run("site")
    assert status != 0
    assert updates(simulation) == [False, True]
    assert UNKNOWN["msg"] in output
