"""A bundle has what hosts of its targets run, and its SBOM says what is installed there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from replicas import HOSTS, LAB, play, shell
from testinfra.host import Host

PROXY = "/opt/mcp-tunnel/proxy/current"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the Pythons of all hosts; its releases are in the controller's cache."""
    dest = tmp_path_factory.mktemp("bundle") / "bundle"
    asked = "/usr/bin/python3 -c 'import platform as p; print(p.python_version(), p.machine())'"
    found = [shell(name).check_output(asked).split() for name in HOSTS]
    targets = [{"python": python, "architecture": machine} for python, machine in found]
    variables = {
        "mcp_tunnel_bundle_dest": str(dest),
        "mcp_tunnel_bundle_targets": targets,
        "cloudflared_install_method": "file",
        "cloudflared_binary_file": LAB["cloudflared"]["path"],
    }
    done = play("-e", json.dumps(variables), playbook="assemble", settings={"PIP_NO_INDEX": "1"})
    assert done.returncode == 0, done.stdout[-3000:]
    return dest


def component(bundle: Path, name: str) -> dict[str, Any]:
    """The SBOM's component with that reference."""
    document = json.loads((bundle / "sbom.cdx.json").read_text())
    (found,) = [one for one in document["components"] if one["bom-ref"] == name]
    return dict(found)


def same(name: str) -> str:
    """A name of a distribution in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_sbom_is_what_is_installed(host: Host, bundle: Path) -> None:
    listed = host.check_output(f"ls -d {PROXY}/*lib/*.dist-info")
    installed = []
    for path in map(Path, listed.split()):
        name, version = path.name.removesuffix(".dist-info").split("-")
        installed.append((path.parent.name, same(name), version))
    assert len(installed) > 10
    release = host.check_output(f"readlink {PROXY}")
    said = [
        (one["properties"][0]["value"], same(one["name"]), one["version"])
        for one in component(bundle, f"proxy-{release}.tar.gz")["components"]
        if one["type"] == "library"
    ]
    assert sorted(said) == sorted(installed)


def test_the_sbom_knows_the_binary_that_runs(host: Host, bundle: Path) -> None:
    checksum = host.file("/opt/mcp-tunnel/cloudflared/current/bin/cloudflared").sha256sum
    found = component(bundle, f"cloudflared-{checksum}.tar.gz")
    assert found["hashes"] == [{"alg": "SHA-256", "content": checksum}]
