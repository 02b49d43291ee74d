"""The release as Ansible runs it: a task that connects fails, and says so."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.cloudflared import (
    BroughtCloudflared,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook


@pytest.fixture
def binary(tmp_path):
    path = tmp_path / "cloudflared"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def ship(tmp_path, binary):
    """Ship cloudflared when a version is known to be active: (exit status, output)."""

    def run(active, *arguments, **options):
        task = {"part": "cloudflared", "architecture": "x86_64", **options}
        tasks = [{"mcp_tunnels.stack.release": {**task, "active": active}}]
        return run_playbook(tmp_path, tasks, {"a": {}}, *arguments)

    return run


def test_a_host_that_runs_the_release_is_not_asked_again(ship, binary):
    version = BroughtCloudflared(binary, "").version
    status, output = ship(version, method="file", binary_file=str(binary))
    assert status == 0, output
    assert '"present": true' in output
    assert f'"path": "/opt/mcp-tunnel/cloudflared/{version}"' in output


def test_a_package_that_is_active_is_not_asked_for_again(ship):
    status, output = ship("package", method="package")
    assert status == 0, output
    assert '"path": "/opt/mcp-tunnel/cloudflared/package"' in output


@pytest.mark.parametrize("active", ["2026.9.3-77e26d8d", ""])
def test_a_host_that_runs_another_one_is_asked(ship, binary, active):
    status, output = ship(active, method="file", binary_file=str(binary))
    assert (status, "UNREACHABLE" in output) == (4, True), output


def test_a_host_that_lacks_the_release_is_not_asked_first(ship, binary):
    status, output = ship(
        "", "--check", method="file", binary_file=str(binary), unpacked=["2026.9.3-77e26d8d"]
    )
    assert status == 0, output
    assert ('"present": false' in output, '"changed": true' in output) == (True, True), output


def test_a_host_that_has_unpacked_it_before_is_asked(ship, binary):
    version = BroughtCloudflared(binary, "").version
    status, output = ship("", "--check", method="file", binary_file=str(binary), unpacked=[version])
    assert (status, "UNREACHABLE" in output) == (4, True), output
