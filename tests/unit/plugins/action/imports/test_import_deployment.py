"""playbooks/import.yml: an inventory that others can read, without a secret in clear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.mcp_tunnels import stack
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import deployments, openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook

_PLAYBOOKS = Path(stack.__path__[0]) / "playbooks"
(_PLAY,) = yaml.safe_load((_PLAYBOOKS / "import.yml").read_text())
_IMPORT = "ansible.builtin.import_tasks"


class Import:
    """A deployment of Compose and what becomes of it."""

    def __init__(self, directory):
        self.directory = directory
        self.parts = deployments.parts(directory)
        self.src = deployments.make_compose(directory, self.parts)
        self.dest = directory / "inventory"
        (directory / "password").write_text("planted-vault-password\n")

    def run(self, *arguments, password=True, **variables):
        """Run the tasks of import.yml, in another play; return exit status and output."""
        tasks = [
            {**task, _IMPORT: str(_PLAYBOOKS / task[_IMPORT])} if _IMPORT in task else task
            for task in _PLAY["tasks"]
        ]
        given = {
            "mcp_tunnel_import_src": str(self.src),
            "mcp_tunnel_import_dest": str(self.dest),
            **variables,
        }
        words = ["--vault-password-file", "password"] if password else []
        run = run_playbook(self.directory, tasks, {"localhost": {}}, *words, *arguments, **given)
        self.no_secret_is_in(run[1])
        return run

    def no_secret_is_in(self, text):
        """Assert that neither the token nor a line of a key is there."""
        for name in ("tunnel-token", "ca.key", "tls.key"):
            for line in self.parts[name].splitlines():
                assert "-----" in line or line not in text, name
        assert "planted-vault-password" not in text

    def files(self):
        """Return the content of each file of the inventory, by its path there."""
        found = (path for path in self.dest.rglob("*") if path.is_file())
        return {str(path.relative_to(self.dest)): path.read_text() for path in found}

    def as_ansible_reads_it(self):
        """Return the variables of a host of the inventory, from Ansible's own command."""
        command = [sys.executable, "-m", "ansible.cli.inventory", "-i", self.dest, "--host", "a"]
        done = subprocess.run(
            [*command, "--vault-password-file", "password"],
            cwd=self.directory,
            env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def imported(tmp_path):
    """A deployment that is not yet imported."""
    return Import(tmp_path)


def test_an_import_its_repetition_and_its_check(imported):
    status, output = imported.run("--check", "--diff")
    assert status == 0, output
    assert "changed=1" in output
    assert "vault_mcp_tunnel_ca_key: (encrypted)" in output
    assert not imported.dest.exists()
    status, output = imported.run("--diff")
    assert status == 0, output
    assert "changed=1" in output
    first = imported.files()
    assert set(first) == {
        "hosts.yml",
        "group_vars/mcp_tunnel/imported.yml",
        "group_vars/mcp_tunnel/vault.yml",
    }
    assert first["group_vars/mcp_tunnel/vault.yml"].startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    imported.no_secret_is_in("".join(first.values()))
    assert {path.stat().st_mode & 0o077 for path in imported.dest.rglob("*")} == {0}
    # The steps are in order, and the old deployment is stopped after the proof of the new one.
    steps = [output.index(word) for word in (".site,", ".verify,", "stop --timeout 60 cloudflared")]
    assert steps == sorted(steps)
    status, output = imported.run("--diff")
    assert status == 0, output
    assert "changed=0" in output
    assert imported.files() == first


def test_ansible_reads_the_variables_of_the_deployment(imported):
    status, output = imported.run()
    assert status == 0, output
    (imported.dest / "hosts.yml").write_text("mcp_tunnel: {hosts: {a: }}\n")
    read = imported.as_ansible_reads_it()
    assert read["mcp_tunnel_token"] == "{{ vault_mcp_tunnel_token }}"
    assert read["vault_mcp_tunnel_token"] == imported.parts["tunnel-token"]
    assert read["vault_mcp_tunnel_ca_key"] == imported.parts["ca.key"]
    assert read["mcp_tunnel_ca_cert"] == imported.parts["ca.crt"]
    assert read["mcp_tunnel_domain"] == openssl.DOMAIN
    assert read["mcp_tunnel_routes"] == deployments.ROUTES
    # The operator's hosts stay.
    status, output = imported.run()
    assert status == 0, output
    assert "changed=0" in output


def test_an_edited_file_is_not_overwritten_unless_asked_for(imported):
    assert imported.run()[0] == 0
    edited = imported.dest / "group_vars/mcp_tunnel/imported.yml"
    text = edited.read_text()
    edited.write_text(text + "proxy_workers: 2\n")
    status, output = imported.run()
    assert status != 0
    assert f"{edited}: is there already, and differs" in output
    assert "set mcp_tunnel_import_replace: true to replace it" in output
    assert edited.read_text() == text + "proxy_workers: 2\n"
    status, output = imported.run("--diff", mcp_tunnel_import_replace="true")
    assert status == 0, output
    assert "-proxy_workers: (not shown)" in output
    assert edited.read_text() == text


def test_what_a_killed_run_has_left_is_completed(imported):
    assert imported.run()[0] == 0
    whole = imported.files()
    (imported.dest / "group_vars/mcp_tunnel/imported.yml").unlink()
    status, output = imported.run()
    assert status == 0, output
    assert "changed=1" in output
    assert imported.files() == whole


def test_secrets_that_another_password_has_encrypted_are_not_overwritten(imported):
    assert imported.run()[0] == 0
    before = imported.files()
    (imported.directory / "password").write_text("another\n")
    status, output = imported.run(mcp_tunnel_import_replace="true")
    assert status != 0
    assert "vault.yml: cannot be opened with a vault password of this run" in output
    assert imported.files() == before


def test_nothing_is_written_without_a_vault_password(imported):
    status, output = imported.run(password=False)
    assert status != 0
    assert "the vault password: is not given" in output
    assert "Run it with --vault-password-file FILE" in output
    assert not imported.dest.exists()


def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_written(imported):
    (imported.src / "data/ca.key").unlink()
    (imported.src / "data/tunnel-token").write_text("x\n")
    config = deployments.config(cache_ttl="5m")
    (imported.src / "config/mcp-proxy.yaml").write_text(yaml.safe_dump(config))
    status, output = imported.run()
    assert status != 0
    assert "Nothing was imported. See problems." in output
    assert "ca.key: is not in the directory" in output
    assert "tunnel-token in data/tunnel-token (mcp_tunnel_token): is not base64" in output
    assert "config/mcp-proxy.yaml: cache_ttl: has no counterpart here" in output
    assert not imported.dest.exists()


def test_variables_of_the_import_are_judged(imported):
    status, output = imported.run(
        mcp_tunnel_import_scr="x", mcp_tunnel_import_replace="perhaps", mcp_tunnel_import_dest=[1]
    )
    assert status != 0
    assert "mcp_tunnel_import_scr: is not a variable" in output
    assert "mcp_tunnel_import_replace: must be true or false" in output
    assert "mcp_tunnel_import_dest: must be an absolute path, is a list of 1" in output


def test_an_inventory_beside_the_deployment_is_refused(imported):
    """The deployment is to be removed afterwards."""
    status, output = imported.run(mcp_tunnel_import_dest=str(imported.src / "inventory"))
    assert status != 0
    assert "mcp_tunnel_import_dest: is within mcp_tunnel_import_src" in output
    assert not (imported.src / "inventory").exists()


def test_a_place_that_others_can_change_is_refused(imported):
    imported.dest.mkdir()
    imported.dest.chmod(0o777)
    status, output = imported.run()
    assert status != 0
    assert "can be written by other users, and so could change the inventory" in output
    assert not imported.files()


def test_a_link_in_the_place_of_a_file_is_refused(imported):
    place = imported.dest / "group_vars/mcp_tunnel"
    place.mkdir(parents=True, mode=0o700)
    (place / "vault.yml").symlink_to(imported.directory / "elsewhere")
    status, output = imported.run()
    assert status != 0
    assert "vault.yml: is not a regular file. Move it away." in output
    assert not (imported.directory / "elsewhere").exists()
