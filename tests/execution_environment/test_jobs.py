"""The image as AWX uses it, against real hosts: bare at first, in the order of this file."""

from __future__ import annotations

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab.supervision import facts

from .jobs import ANY_USER, AWX, OPENSHIFT, READ_ONLY, ROOT, SEED, Platform


@pytest.fixture(autouse=True)
def _the_laboratory_is_up(platform: Platform) -> None:
    if gone := facts.gone(platform.paths):
        pytest.exit(gone, returncode=pytest.ExitCode.INTERNAL_ERROR)


def tunnels(platform: Platform) -> list[dict[str, Any]]:
    """The tunnels in the API that these runs made."""
    command = ["python", "-m", "lab", "api", platform.paths.name, "status"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = [each for each in json.loads(done.stdout)["tunnels"] if not each["archived_at"]]
    return [each for each in found if each["display_name"] == "laboratory"]


def test_a_group_of_another_name_is_refused(platform: Platform, tmp_path: Path) -> None:
    run = platform.job(tmp_path, options=OPENSHIFT, group="mcp_tunnels")
    assert run.status != 0, run.output
    assert "mcp_tunnel: is no group of the inventory, or it has no hosts" in run.output
    assert run.changed() == 0


def test_a_state_host_that_ends_with_the_job_is_refused(platform: Platform, tmp_path: Path) -> None:
    run = platform.job(tmp_path, "site", "-e", "mcp_tunnel_state_host=localhost", options=READ_ONLY)
    assert run.status != 0, run.output
    assert "this controller is a container: the CA's key would end with it" in run.output
    assert run.changed() == 0


def test_a_bundle_for_another_python_is_refused(
    platform: Platform, bundle: Path, tmp_path: Path
) -> None:
    """Debian 13 has Python 3.13: no host is touched, and one error says how to get the rest."""
    partial = tmp_path / "partial"
    shutil.copytree(bundle, partial)
    for path in partial.glob("proxy-*cp313*"):
        path.unlink()
    manifest = json.loads((partial / "manifest.json").read_text())
    manifest["files"] = [each for each in manifest["files"] if "cp313" not in each["file"]]
    (partial / "manifest.json").write_text(json.dumps(manifest))
    names = sorted(path.name for path in partial.iterdir() if path.name != "SHA256SUMS")
    sums = subprocess.run(
        ["sha256sum", *names], cwd=partial, capture_output=True, text=True, check=True
    )
    (partial / "SHA256SUMS").write_text(sums.stdout)
    options = (*AWX, f"--volume={partial}:{SEED}:ro")
    arguments = ("-e", f"mcp_tunnel_bundle={SEED}")
    run = platform.job(tmp_path / "job", "site", *arguments, options=options)
    assert run.status != 0, run.output
    assert f"mcp_tunnel_bundle {SEED}: has no proxy for Python 3.13 on" in run.output
    assert "mcp_tunnels.stack.assemble" in run.output
    assert run.changed() == 0


def test_another_version_of_the_collection_is_refused(platform: Platform, tmp_path: Path) -> None:
    """A project's requirements.yml comes before the image's own collection."""
    job = tmp_path / "job"
    place = job / "collections/ansible_collections/mcp_tunnels/stack"
    source = "/usr/share/ansible/collections/ansible_collections/mcp_tunnels/stack"
    root = Path(platform.podman("image", "mount", platform.image).strip())
    shutil.copytree(root / source.lstrip("/"), place)
    platform.podman("image", "unmount", platform.image)
    manifest = json.loads((place / "MANIFEST.json").read_text())
    manifest["collection_info"]["version"] = "99.0.0"
    (place / "MANIFEST.json").write_text(json.dumps(manifest))
    (place / "proxy_src/src/mcp_proxy/descriptors.py").open("a").write("# of another version\n")
    options = (*AWX, "--env=ANSIBLE_COLLECTIONS_PATH=/job/collections")
    run = platform.job(job, options=options)
    assert run.status != 0, run.output
    version = platform.image.rpartition(":")[2]
    assert f"by version {version} of mcp_tunnels.stack, and this is 99.0.0" in run.output
    assert "Assemble it anew with 99.0.0, or install" in run.output
    assert run.changed() == 0


def test_two_slices_at_once_make_one_tunnel(platform: Platform, tmp_path: Path) -> None:
    """Each sees one bare host: one deploys, the other is refused and says why."""
    with ThreadPoolExecutor(2) as pool:
        runs = list(
            pool.map(
                lambda name: platform.job(tmp_path / name, options=OPENSHIFT, hosts=[name]),
                ("host1", "host2"),
            )
        )
    assert sorted(run.status == 0 for run in runs) == [False, True], [run.output for run in runs]
    refused = next(run for run in runs if run.status != 0)
    causes = ("another state host serves it", "at the same time by another run")
    assert any(cause in refused.output for cause in causes), refused.output
    (tunnel,) = tunnels(platform)
    assert len([each for each in tunnel["certificates"] if not each["archived_at"]]) == 1


def test_the_whole_inventory_is_deployed_without_an_index(
    platform: Platform, tmp_path: Path
) -> None:
    """As OpenShift runs it: a user without a home, and nothing but /tmp to write to."""
    run = platform.job(tmp_path, options=OPENSHIFT)
    assert run.status == 0, run.output
    assert len(tunnels(platform)) == 1
    print(f"deployment in the image: {run.seconds:.1f} s")


def test_another_order_changes_nothing(platform: Platform, tmp_path: Path) -> None:
    """As root, hosts in reverse, beside the same run outside of the image."""
    inside = platform.job(tmp_path, options=AWX, hosts=["host2", "host1"])
    assert inside.status == 0, inside.output
    assert (inside.changed(), sorted(inside.recap)) == (0, ["host1", "host2"])
    outside = platform.outside()
    assert (outside.status, outside.changed()) == (0, 0), outside.output
    print(f"without changes: {inside.seconds:.1f} s in the image, {outside.seconds:.1f} s outside")


def test_a_duty_without_a_disabled_host_is_refused(platform: Platform, tmp_path: Path) -> None:
    """Whichever of the two is left out, nothing is rotated, and the run names it."""
    before = tunnels(platform)
    for left, missing in (("host1", "host2"), ("host2", "host1")):
        run = platform.job(tmp_path / left, "rotate_ca", options=ANY_USER, hosts=[left])
        assert run.status != 0, run.output
        assert missing in run.output
        assert run.changed() == 0
    assert tunnels(platform) == before
