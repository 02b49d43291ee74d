"""Bundles as Ansible makes and uses them: in check mode as well, and each problem once."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import yaml
from ansible_collections.mcp_tunnels import stack
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    Target,
    release_for,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.bundles import (
    pack_program,
    write_bundle,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

_PLAYBOOKS = Path(stack.__path__[0]) / "playbooks"
(_PLAY,) = yaml.safe_load((_PLAYBOOKS / "assemble.yml").read_text())
_IMPORT = "ansible.builtin.import_tasks"
PROXY = release_for(Target("3.11.2", "x86_64"), sys.executable)


def assemble(directory, *arguments, **variables):
    """Run the tasks of assemble.yml, in another play."""
    tasks = [
        {**task, _IMPORT: str(_PLAYBOOKS / task[_IMPORT])} if _IMPORT in task else task
        for task in _PLAY["tasks"]
    ]
    return run_playbook(directory, tasks, {"localhost": {}}, *arguments, **variables)


def test_a_bundle_is_assembled_and_says_what_is_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "cache/mcp_tunnels.stack"
    root.mkdir(parents=True, mode=0o700)
    archive = pack_program(b"Name: a\nVersion: 1\n", "lib/a-1.dist-info/METADATA")
    (root / PROXY.file_name).write_bytes(archive)
    (root / f"{PROXY.file_name}.sha256").write_text(hashlib.sha256(archive).hexdigest())
    for path in root.iterdir():
        path.chmod(0o600)
    (tmp_path / "cloudflared").write_text("#!/bin/sh\n")
    variables = {
        "mcp_tunnel_bundle_dest": str(tmp_path / "bundle.tar"),
        "mcp_tunnel_bundle_targets": [{"python": "3.11", "architecture": "x86_64"}],
        "cloudflared_install_method": "file",
        "cloudflared_binary_file": str(tmp_path / "cloudflared"),
    }
    status, output = assemble(tmp_path, "--check", **variables)
    assert status == 0, output
    assert "changed=1" in output
    assert not (tmp_path / "bundle.tar").exists()
    status, output = assemble(tmp_path, **variables)
    assert status == 0, output
    assert "changed=1" in output
    for name in (PROXY.file_name, "sbom.cdx.json", "SHA256SUMS"):
        assert name in output.partition("TASK [Say what is in it]")[2]
    assert (tmp_path / "bundle.tar").is_file()


def test_all_bad_variables_of_a_bundle_are_told_at_once(tmp_path):
    status, output = assemble(tmp_path, mcp_tunnel_bundel_dest="x", cloudflared_version="latest")
    assert status != 0
    for name in (
        "mcp_tunnel_bundel_dest: is not a variable",
        "mcp_tunnel_bundle_dest: must be an absolute path",
        "mcp_tunnel_bundle_targets: must be a list of maps",
        "cloudflared_version: 'latest' is not a version",
    ):
        assert name in output
    assert "No bundle was made. See problems." in output


def test_a_host_gets_a_release_from_a_bundle_without_a_cache(tmp_path):
    simulation = Simulation(tmp_path)
    simulation.settings = {"XDG_CACHE_HOME": "/proc", "PIP_NO_INDEX": "1"}
    task = {"part": "proxy", "architecture": "x86_64", "python_version": "3.11.2"}
    for host, bundle in (("host1", "{{ mcp_tunnel_bundle }}"), ("host2", "")):
        simulation.attack(host, "release_tree", merge={"present": False})
        task["bundle"] = bundle
        arguments = {"mcp_tunnels.stack.release": dict(task), "check_mode": True}
        status, output = simulation.run_tasks(
            [{**arguments, "when": f"'{host}' == inventory_hostname"}]
        )
        # Check mode says what a run would do: without the bundle, it would fail.
        assert (status == 0) is bool(bundle), output
        assert ("/proc/mcp_tunnels.stack: cannot be used as a cache" in output) is (not bundle)


def test_a_bundle_that_lacks_a_release_is_told_once_before_any_host_is_changed(tmp_path):
    simulation = Simulation(tmp_path)
    del simulation.world["unpacked"]  # the hosts are bare
    other = release_for(Target("3.13.5", "x86_64"), sys.executable)
    bundle = write_bundle(tmp_path / "other", {other.file_name: b"x"})
    simulation.variables["mcp_tunnel_bundle"] = str(bundle)
    status, output = simulation.run("site")
    assert status != 0
    assert output.count("has no proxy for Python 3.11 on x86_64 and no cloudflared 2026") == 1
    assert {call["module"] for call in simulation.calls() if call["module"]} == {"host_check"}


def test_a_tunnel_without_its_release_stops_and_the_others_go_on(tmp_path):
    simulation = Simulation(tmp_path)
    simulation.hosts = {
        "host1": {"mcp_tunnel_instance": "one"},
        "host2": {"mcp_tunnel_instance": "two"},
    }
    simulation.attack("host2", "host_check", merge={"facts": {"python_version": "3.13.5"}})
    # Further than this the run need not go.
    simulation.attack("host1", "release_tree", merge={"version": "../../x"})
    status, output = simulation.run("site")
    assert status != 0
    assert "Instance two cannot go on; none of its replicas was touched" in output
    assert output.count("has no proxy for Python 3.13 on x86_64") >= 1
    shipped = {call["host"] for call in simulation.calls() if call["module"] == "release_tree"}
    assert shipped == {"host1"}


def test_a_flipped_bit_is_refused_before_any_host_is_changed(tmp_path):
    simulation = Simulation(tmp_path)
    del simulation.world["unpacked"]  # the hosts are bare
    path = tmp_path / "bundle" / PROXY.file_name
    os.truncate(path, path.stat().st_size - 1)
    status, output = simulation.run("site", "--check")
    assert status != 0
    assert output.count(f"{PROXY.file_name}: its SHA-256 is ") == 1
    assert {call["module"] for call in simulation.calls() if call["module"]} == {"host_check"}


def test_the_path_of_a_bundle_is_checked_before_the_first_connection(tmp_path):
    simulation = Simulation(tmp_path)
    simulation.variables["mcp_tunnel_bundle"] = "bundle"
    status, output = simulation.run("site")
    assert status != 0
    assert "mcp_tunnel_bundle: must be an absolute path" in output
    assert not [call for call in simulation.calls() if call["module"]]
