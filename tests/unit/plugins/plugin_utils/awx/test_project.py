"""The project of AWX: its files, and those of somebody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.awx import project
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options

PLAYBOOKS = Path(role_options.__file__).parents[3] / "playbooks"


def written(directory, requirements=False):
    """Write the project; return the names of the files that changed."""
    changes = project.changes(str(directory), project.files(requirements))
    project.write(changes)
    return {str(change.path.relative_to(directory)) for change in changes}


def test_it_has_every_playbook_of_replicas_and_no_other():
    of_replicas = {
        path.stem for path in PLAYBOOKS.glob("*.yml") if "plays/replicas.yml" in path.read_text()
    }
    assert project.PLAYBOOKS.keys() == of_replicas


def test_a_second_run_writes_nothing(tmp_path):
    root = tmp_path / "project"
    assert {"site.yml", "ansible.cfg", "known_hosts"} <= written(root)
    assert written(root) == set()
    assert not (root / "collections").exists()
    for path in root.glob("*.yml"):
        (play,) = yaml.safe_load(path.read_text())
        assert play["ansible.builtin.import_playbook"] == f"mcp_tunnels.stack.{path.stem}"
        assert path.stat().st_mode & 0o777 == 0o644
    assert list(root.glob(".*")) == []


def stated():
    """Return the version of this collection, which is a checkout or an installed one."""
    root = PLAYBOOKS.parent
    if (root / "galaxy.yml").exists():
        return yaml.safe_load((root / "galaxy.yml").read_text())["version"]
    return json.loads((root / "MANIFEST.json").read_text())["collection_info"]["version"]


def test_it_asks_for_the_version_that_wrote_it(tmp_path):
    written(tmp_path, requirements=True)
    wanted = yaml.safe_load((tmp_path / "collections/requirements.yml").read_text())
    assert wanted == {"collections": [{"name": "mcp_tunnels.stack", "version": f"=={stated()}"}]}


def test_its_own_files_are_replaced_and_keys_are_kept(tmp_path):
    written(tmp_path)
    site = (tmp_path / "site.yml").read_text()
    (tmp_path / "site.yml").write_text(site + "# of somebody\n")
    (tmp_path / "known_hosts").write_text("replica1 ssh-ed25519 AAAA\n")
    assert written(tmp_path) == {"site.yml"}
    assert (tmp_path / "site.yml").read_text() == site
    assert "AAAA" in (tmp_path / "known_hosts").read_text()


def test_files_of_somebody_else_are_named(tmp_path):
    (tmp_path / "site.yml").write_text("- hosts: all\n")
    (tmp_path / "verify.yml").symlink_to("/etc/passwd")
    (tmp_path / "ansible.cfg").mkdir()
    changes = project.changes(str(tmp_path), project.files(False))
    foreign = {change.path.name: change for change in changes if change.is_foreign}
    assert foreign.keys() == {"site.yml", "verify.yml", "ansible.cfg"}
    text = str(project.not_ours(foreign["site.yml"]))
    assert text.startswith(f"{tmp_path}/site.yml: is there already")
    assert "mcp_tunnel_awx_project_replace" in text


@pytest.mark.parametrize("dest", ["", "project", "/nowhere/project", "/etc/passwd"])
def test_a_place_that_is_none(dest):
    with pytest.raises(TunnelError, match="mcp_tunnel_awx_project_dest"):
        project.changes(dest, project.files(False))
