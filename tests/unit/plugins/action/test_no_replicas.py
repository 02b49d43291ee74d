"""A run without replicas is red: a misspelt group would look like a deployment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins import support
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.runs import client

PLAYBOOKS = Path(role_options.__file__).parents[3] / "playbooks"
COLLECTIONS = Path(role_options.__file__).parents[6]
# They work on the controller, for hosts that need not be there.
WITHOUT_HOSTS = {"assemble", "awx", "awx_project", "import"}
NAMES = sorted({path.stem for path in PLAYBOOKS.glob("*.yml")} - WITHOUT_HOSTS)
MISSPELT = {"mcp_tunels": {"hosts": {"a": {}}}}
BESIDE = {"mcp_tunnel": {"hosts": {"a": {}, "b": {}}}, "others": {"hosts": {"c": {}}}}


def run(directory, inventory, playbook, *arguments):
    """Return exit status and output of a playbook over an inventory."""
    (directory / "inventory.yml").write_text(yaml.safe_dump(inventory))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_CONFIG": str(Path(support.__file__).with_name("ansible.cfg")),
        "ANSIBLE_LOCAL_TEMP": str(directory / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
    }
    words = ["-i", "inventory.yml", str(PLAYBOOKS / f"{playbook}.yml"), *arguments]
    done = client.run(words, directory, environment)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("playbook", NAMES)
def test_of_a_group_with_another_name(tmp_path, playbook):
    status, output = run(tmp_path, MISSPELT, playbook)
    assert status != 0
    assert "mcp_tunnel: is no group of the inventory, or it has no hosts" in output
    assert "Nothing was done." in output


@pytest.mark.parametrize("inventory", [{}, {"mcp_tunnel": {"hosts": {}}}])
def test_of_an_inventory_without_hosts(tmp_path, inventory):
    status, output = run(tmp_path, inventory, "verify")
    assert status != 0
    assert "mcp_tunnel: is no group of the inventory, or it has no hosts" in output


@pytest.mark.parametrize("playbook", ["site", "verify"])
def test_of_a_limit_that_leaves_none(tmp_path, playbook):
    status, output = run(tmp_path, BESIDE, playbook, "--limit", "others")
    assert status != 0
    assert "mcp_tunnel: none of its 2 hosts takes part in this run, because of --limit" in output


@pytest.mark.parametrize(
    ("playbook", "arguments"),
    [
        ("site", ["--tags", "firewall"]),
        ("verify", ["--skip-tags", "all"]),
        ("teardown", ["--skip-tags", "untagged"]),
        ("assemble", ["--tags", "proxy"]),
        ("awx_project", ["--tags", "always"]),
        ("import", ["--tags", "always"]),
    ],
)
def test_of_tags_that_leave_no_task(tmp_path, playbook, arguments):
    status, output = run(tmp_path, BESIDE, playbook, *arguments)
    assert status != 0
    assert f"{arguments[0]}: leaves nothing of this playbook to run" in output
    assert "Nothing was done." in output


def test_every_playbook_refuses_such_tags():
    """Its first play is the one of all playbooks with replicas, or begins with the refusal."""
    for path in PLAYBOOKS.glob("*.yml"):
        first = yaml.safe_load(path.read_text(encoding="utf-8"))[0]
        if path.stem in WITHOUT_HOSTS:
            assert first["tasks"][0]["ansible.builtin.import_tasks"] == "tasks/whole.yml"
        else:
            assert first["ansible.builtin.import_playbook"] == "plays/replicas.yml"


def test_of_a_start_at_a_later_task(tmp_path):
    """Results of the tasks before it are missing. Ansible gathers facts then, unasked."""
    here = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": sys.executable,
    }
    inventory = {"mcp_tunnel": {"hosts": {"a": here}}}
    status, output = run(tmp_path, inventory, "site", "--start-at-task", "Look at the hosts")
    assert status != 0
    assert "mcp_tunnel_plan" in output


def test_of_a_limit_that_leaves_one(tmp_path):
    """It goes on, to the variables that are missing."""
    status, output = run(tmp_path, BESIDE, "verify", "--limit", "b")
    assert status != 0
    assert "takes part in this run" not in output
    assert "in the variables of b; no host was touched" in output
