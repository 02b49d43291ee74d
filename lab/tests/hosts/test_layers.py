"""Packages beside a root file system: installed once, whole or not at all, and switched off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.core.errors import LabError
from lab.core.paths import LabPaths
from lab.core.progress import Progress
from lab.hosts import layers
from lab.tests.support import RunningLab, lab

AddTool = Callable[[str, str], None]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root file system as far as an installation needs one."""
    tree = tmp_path / "suite-0123"
    for directory in ("etc", "proc", "tmp", "usr/sbin"):
        (tree / directory).mkdir(parents=True)
    return tree


def left(tree: Path) -> list[str]:
    return [path.name for path in tree.parent.glob("*suite*") if path.is_dir()]


def test_the_layer_holds_what_was_installed_and_is_made_once(
    tree: Path, fake_tools: AddTool
) -> None:
    fake_tools("chroot", 'root=$1; shift 5; echo "$*" >>"$root/usr/installed"')
    layer = layers.ensure(tree, ["ufw", "firewalld"], Progress())
    assert layers.ensure(tree, ["firewalld", "ufw", "ufw"], Progress()) == layer
    assert (layer / "usr/installed").read_text() == "install firewalld ufw\n"
    assert not (tree / "usr/installed").exists()
    assert (layer / "etc/hosts").read_text() == ""  # the machine's file was only lent
    assert layers.ensure(tree, ["ufw"], Progress()) != layer


def test_failure_shows_the_last_words_and_leaves_nothing(tree: Path, fake_tools: AddTool) -> None:
    fake_tools("chroot", 'touch "$1/usr/half"; echo "E: Unable to locate package"; exit 100')
    with pytest.raises(LabError, match=r"--with nosuch: .*\n.*Unable to locate package"):
        layers.ensure(tree, ["nosuch"], Progress())
    assert left(tree) == [tree.name]


@pytest.mark.parametrize("bad", ["--force", "a b", "", "x;y"])
def test_what_is_no_packages_name_is_not_given_to_apt(tree: Path, bad: str) -> None:
    with pytest.raises(LabError, match="not a Debian package's name"):
        layers.ensure(tree, [bad], Progress())


def test_hosts_have_them_switched_off(name: str) -> None:
    status, output = lab(
        *("up", name, "--hosts", "2", "--debian", "12,13", "--with", "firewalld,ufw")
    )
    assert status == 0, output
    there = RunningLab(LabPaths(name))
    for host in ("host1", "host2"):
        assert there.on(host, "systemctl is-system-running") == "running"
        assert there.on(host, "systemctl is-enabled firewalld ufw") == "disabled\ndisabled"
        assert there.on(host, "systemctl is-active firewalld ufw") == "inactive\ninactive"
        assert there.on(host, "sudo nft list ruleset") == ""
        assert there.on(host, "test -e /usr/sbin/policy-rc.d; echo $?") == "1"
        assert there.on(host, "sudo systemctl start firewalld; sudo firewall-cmd --state") == (
            "running"
        )
