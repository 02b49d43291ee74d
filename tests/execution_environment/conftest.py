"""One laboratory of two bare hosts and one image, for all tests of this folder."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.paths import LabPaths
from lab.supervision import lifecycle

from .jobs import ROOT, Platform

BUILT = ROOT / ".build/execution-environment"
#: Where builders have secrets: in the address of an index, and in variables.
PLANTED = "plantedBuildToken0123456789"


@pytest.fixture(scope="session")
def paths() -> Iterator[LabPaths]:
    """A laboratory with host1 (Debian 12) and host2 (Debian 13), both bare."""
    paths = lifecycle.up(f"e{os.getpid() % 10000000}", 2, ["12", "13"])
    yield paths
    lifecycle.down(paths)


@pytest.fixture(scope="session")
def bundle(paths: LabPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the Pythons of both hosts, as an operator assembles it."""
    dest = tmp_path_factory.mktemp("assembled") / "bundle"
    variables = {
        "mcp_tunnel_bundle_dest": str(dest),
        "mcp_tunnel_bundle_targets": [
            {"python": python, "architecture": os.uname().machine} for python in ("3.11", "3.13")
        ],
        "cloudflared_install_method": "file",
        "cloudflared_binary_file": json.loads(paths.facts.read_text())["cloudflared"]["path"],
    }
    command = ["ansible-playbook", str(ROOT / "playbooks/assemble.yml")]
    done = subprocess.run(
        [*command, "--extra-vars", json.dumps(variables)],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()
    return dest


@pytest.fixture(scope="session")
def platform(paths: LabPaths, bundle: Path) -> Platform:
    """The image, built without the network, by a builder who has secrets."""
    environment = {
        **os.environ,
        "MCP_TUNNEL_TOKEN": PLANTED,
        "PIP_EXTRA_INDEX_URL": f"http://builder:{PLANTED}@127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
    }
    command = ["tools/execution-environment", "--bundle", str(bundle)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    image = done.stdout.partition(": ")[0]
    settings = {
        **os.environ,
        "CONTAINERS_CONF": str(BUILT / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(BUILT / "storage.conf"),
        "HOME": str(BUILT / "home"),
    }
    return Platform(image, settings, paths)
