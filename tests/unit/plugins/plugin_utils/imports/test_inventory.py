"""The inventory that an import writes, and everything that it must not write over."""

from __future__ import annotations

import types

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports import inventory, place
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.vaults import Vault

VARIABLES = {
    "mcp_tunnel_domain": "abcd1234.tunnel.example",
    "mcp_tunnel_routes": {"echo": "http://10.0.0.1:8000"},
    "mcp_tunnel_token": "planted-token",
    "mcp_tunnel_ca_key": "planted-key",
}


def vault(password=b"a password"):
    """Return the vault of a run with that password."""
    lib = VaultLib([("default", VaultSecret(password))])
    return Vault(types.SimpleNamespace(_vault=lib))


@pytest.fixture
def root(tmp_path):
    """The place of an inventory, in which nothing is yet."""
    (tmp_path / "src").mkdir()
    return tmp_path / "inventory"


def check(root):
    place.check(root, root.parent / "src")


def changes(root, **changed):
    """Return what an import would write, after all checks."""
    check(root)
    return inventory.changes(root, {**VARIABLES, **changed}, vault())


def imported(root):
    """Return the place of an inventory that was imported."""
    inventory.write(root, changes(root))
    return root / "group_vars/mcp_tunnel"


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("written", range(4))
def test_a_killed_run_is_completed(root, written):
    """Wherever it was killed: a file is there as a whole, or not at all."""
    files = changes(root)
    assert [file.path.name for file in files] == ["vault.yml", "imported.yml", "hosts.yml"]
    inventory.write(root, files[:written])
    rest = changes(root)
    assert [file.path for file in rest] == [file.path for file in files[written:]]
    inventory.write(root, rest)
    assert changes(root) == []
    assert [file.path.exists() for file in files] == [True] * 3


def test_what_a_killed_write_has_left_is_no_hindrance(root):
    imported(root)
    for name in ("hosts.yml", "group_vars/mcp_tunnel/vault.yml"):
        path = root / name
        path.rename(path.with_name(f".{path.name}.4194305.mcp-tunnel"))
    (root / "group_vars/mcp_tunnel/imported.yml").unlink()
    inventory.write(root, changes(root))
    assert not list(root.rglob(".*"))


@pytest.mark.parametrize(
    "name", ["hosts.yml", "inventory.ini", "group_vars/mcp_tunnel.yml", "group_vars/all.yml",
             "group_vars/mcp_tunnel/imported.yml", "group_vars/mcp_tunnel/main.yml", "host_vars/a"]
)  # fmt: skip
def test_another_inventory_is_not_taken(root, name):
    """Its hosts, replicas of another tunnel perhaps, would become replicas of this one."""
    path = root / name
    path.parent.mkdir(parents=True)
    path.write_text("mcp_tunnel: {hosts: {a: }}\n")
    before = contents(root)
    with pytest.raises(TunnelError, match="is an inventory that import has not written") as error:
        check(root)
    assert str(path) in str(error.value) or str(path.parent) in str(error.value)
    assert contents(root) == before


def test_an_empty_repository_is_taken(root):
    (root / ".git").mkdir(parents=True)
    (root / ".gitignore").write_text("")
    assert len(changes(root)) == 3


def test_files_of_the_operators_own_beside_the_imported_ones_stay(root):
    place = imported(root)
    (place / "own.yml").write_text("a: 1\n")
    (root / "hosts.yml").write_text("mcp_tunnel: {hosts: {a: }}\n")
    (root / "host_vars").mkdir()
    before = contents(root)
    assert changes(root) == []
    inventory.write(root, changes(root, mcp_tunnel_token="another"))
    changed = [path for path, content in contents(root).items() if before.get(path) != content]
    assert changed == [place / "vault.yml"]


@pytest.mark.parametrize("where", ["src", "src/inventory", "."])
def test_the_inventory_and_the_deployment_lie_apart(root, where):
    """One is removed afterwards, and Ansible reads all of the other."""
    with pytest.raises(TunnelError, match=r"mcp_tunnel_import_dest: is within|has mcp_tunnel"):
        place.check(root.parent / where, root.parent / "src")


def test_they_lie_apart_through_links_as_well(root):
    root.symlink_to(root.parent / "src")
    with pytest.raises(TunnelError, match="is within mcp_tunnel_import_src"):
        check(root)


def test_secrets_of_the_operators_own_are_not_replaced(root):
    """vault.yml is a usual name."""
    path = imported(root) / "vault.yml"
    path.write_text(vault().encrypt("vault_mcp_tunnel_token: a\nvault_of_mine: b\n"))
    with pytest.raises(TunnelError, match=r"vault.yml: has other variables.*vault_of_mine"):
        changes(root)


@pytest.mark.parametrize(
    "text", ["vault_of_mine: planted\n", vault(b"another").encrypt("a: b\n"), "[planted"]
)
def test_a_vault_that_cannot_be_looked_into_is_not_replaced(root, text):
    (imported(root) / "vault.yml").write_text(text)
    with pytest.raises(TunnelError, match=r"vault.yml: ") as error:
        changes(root)
    assert "planted" not in str(error.value)


@pytest.mark.parametrize("text", ["- planted\n", "a: !vault planted\n", "planted", "a: [planted"])
def test_a_diff_shows_nothing_that_may_be_a_secret(root, text):
    path = imported(root) / "imported.yml"
    path.write_text(path.read_text() + text)
    (file,) = changes(root)
    assert "planted" not in str(file.diff())
    assert file.diff()["before"] != file.diff()["after"]


def test_a_diff_shows_the_imported_variables_alone(root):
    path = imported(root) / "imported.yml"
    own = {"mcp_tunnel_token": "planted", "of_mine": ["planted"], "proxy_log_level": "debug"}
    path.write_text(yaml.safe_dump({**VARIABLES, "mcp_tunnel_ca_key": "planted", **own}))
    with pytest.raises(TunnelError):
        check(root)  # not ours
    path.write_text(inventory.HEADER + path.read_text())
    (file,) = changes(root)
    before = file.diff()["before"]
    assert "planted" not in str(file.diff())
    assert "of_mine: (not shown)" in before
    assert "proxy_log_level: debug" in before
    assert "echo: http://10.0.0.1:8000" in before
