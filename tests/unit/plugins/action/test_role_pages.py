"""The roles' pages say how to use one of them alone; the examples run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

ROLES = Path(__file__).resolve().parents[4] / "roles"
#: A question that the role asks a host: module and state.
ASKED = {
    "provision": ("tunnel_ca", "current"),
    "proxy": ("server_cert", "installed"),
    "cloudflared": ("replica", "started"),
    "firewall": ("firewall", "loaded"),
}


def example(role):
    """Return the playbook on the page of the role."""
    page = (ROLES / role / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert f"mcp_tunnels.stack.{role}\n" in text
    return text


@pytest.mark.parametrize("role", role_options.ROLES)
def test_the_example_on_the_page_of_a_role_works(tmp_path, role):
    simulation = Simulation(tmp_path)
    simulation.hosts = {"host1": {}}
    simulation.attack("host1", "host_check", merge={"facts": {"users": []}})
    playbook = tmp_path / "example.yml"
    playbook.write_text(example(role), encoding="utf-8")
    status, output = simulation.run(str(playbook))
    assert status == 0, output[-3000:]
    assert "is undefined" not in output
    module, state = ASKED[role]
    states = [
        call["arguments"].get("state", state)
        for call in simulation.calls()
        if call["module"] == module
    ]
    assert state in states
    assert_users_are_made_before_rules_name_them(simulation.calls())
    assert_directories_are_made_before_their_files(simulation.calls())


def assert_directories_are_made_before_their_files(calls):
    """On a bare host, nobody else has made the collection's own."""
    made = set()
    for call in calls:
        entries = call["arguments"].get("entries", []) if call["module"] == "file_set" else []
        for entry in entries:
            if entry.get("state") == "directory":
                made.add(entry["path"])
            elif "content" in entry and "mcp-tunnel/" in entry["path"]:
                assert str(Path(entry["path"]).parent) in made, entry["path"]


def assert_users_are_made_before_rules_name_them(calls):
    """On a bare host, nft refuses rules for users that do not exist."""
    made = set()
    for call in calls:
        made |= call["arguments"].get("sysusers", {}).keys()
        if "instance_rules" in call["arguments"]:
            assert made == {"mcp-proxy", "mcp-cloudflared", "mcp-tunnel-renew"}


def test_a_role_may_be_in_the_play_of_the_preflight(tmp_path):
    """Variables of a role hide those of the inventory in its whole play; none has a public name."""
    simulation = Simulation(tmp_path)
    simulation.hosts = {"host1": {}}
    prepare, configure = yaml.safe_load(example("firewall"))
    prepare["tasks"] += configure["tasks"]
    playbook = tmp_path / "example.yml"
    playbook.write_text(yaml.safe_dump([prepare]), encoding="utf-8")
    status, output = simulation.run(str(playbook))
    assert status == 0, output[-3000:]


@pytest.mark.parametrize("role", role_options.ROLES)
def test_the_metadata_of_a_role_names_the_same_floor(role):
    about = yaml.safe_load((ROLES / role / "meta/main.yml").read_text(encoding="utf-8"))
    runtime = yaml.safe_load((ROLES.parent / "meta/runtime.yml").read_text(encoding="utf-8"))
    floor = about["galaxy_info"]["min_ansible_version"]
    assert runtime["requires_ansible"].startswith(f">={floor}.")
