from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    state as firewall_state,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.files import (
    UNIT_FILES,
    RuleFiles,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.records import (
    FirewallRecords,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    refused,
)

RULES = {"instance": "default", "host_rules": "table\n", "instance_rules": "rules\n"}
UNITS = {name: f"# {name}\n" for name in UNIT_FILES}


@pytest.fixture
def units(tmp_path, monkeypatch):
    """The directory of units, on a host whose kernel has the rules already."""
    units = tmp_path / "units"
    units.mkdir()
    firewall = firewall_state.Firewall(
        RuleFiles(tmp_path / "rules", units), FirewallRecords(tmp_path)
    )
    monkeypatch.setattr(firewall_state, "Firewall", lambda: firewall)
    for name in ("load", "predict"):
        result = {"changed": False, "actions": [], "diff": [], "armed": False, "proven": True}
        monkeypatch.setattr(firewall_state, name, lambda *_rules, result=result: result)
    return units


def test_units_that_are_missing_are_a_change(units):
    result = ensured("firewall", **RULES, units=UNITS)
    assert result["changed"]
    assert f"{units / 'mcp-tunnel-firewall.service'} written" in result["actions"]
    written = {item["after_header"].rpartition("/")[2] for item in result["diff"]}
    assert written > {name.rpartition("/")[2] for name in UNITS}
    again = ensured("firewall", **RULES, units=UNITS)
    assert (again["changed"], again["actions"], again["diff"]) == (False, [], [])


def test_rules_without_the_units_that_load_them_are_refused():
    assert "units" in refused("firewall", **RULES)
