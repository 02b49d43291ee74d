"""Marks of a controller that ends with its job."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.container import (
    is_container,
)


@pytest.fixture(autouse=True)
def _a_machine(monkeypatch):
    for name in ("container", "KUBERNETES_SERVICE_HOST", "AWX_ISOLATED_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_machine_has_none(tmp_path):
    assert not is_container({}, tmp_path)


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_the_files_of_docker_and_podman(tmp_path, mark):
    (tmp_path / "run").mkdir()
    (tmp_path / mark).touch()
    assert is_container({}, tmp_path)


@pytest.mark.parametrize("name", ["container", "KUBERNETES_SERVICE_HOST"])
def test_the_environment(tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "x")
    assert is_container({}, tmp_path)


@pytest.mark.parametrize("name", ["awx_job_id", "tower_job_id"])
def test_a_job_of_a_platform(tmp_path, name):
    assert is_container({name: "7"}, tmp_path)
