"""Virtual machines, as far as it takes no QEMU: choices, refusals, files that they boot from.

Those that boot are in ``tests/machines``.
"""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.core.errors import LabError
from lab.core.paths import LabPaths
from lab.core.progress import Progress
from lab.hosts import boot_files, cgroups, machine, qemu
from lab.hosts.architectures import OWN
from lab.hosts.specs import HostSpec
from lab.network import namespaces
from lab.supervision import lifecycle
from lab.tests.support import RunningLab, lab

AddTool = Callable[[str, str], None]

_SPEAKS = 'case "$*" in *"-accel kvm"*) echo "[0.0] Linux version 6";; *) exit 1;; esac'
_HANGS = "exec sleep 60"
_FAILS = "echo 'qemu: failed to initialize KVM' >&2; exit 1"


@pytest.mark.parametrize(
    ("flags", "device", "program", "accelerator"),
    [
        ("fpu vmx", True, _SPEAKS, "kvm"),
        ("fpu svm", True, _SPEAKS, "kvm"),
        ("fpu vmx", True, _HANGS, "tcg,tb-size=512"),
        ("fpu vmx", True, _FAILS, "tcg,tb-size=512"),
        ("fpu vmx", False, _SPEAKS, "tcg,tb-size=512"),
        # The device opens, and this processor cannot do it.
        ("fpu hypervisor", True, _SPEAKS, "tcg,tb-size=512"),
    ],
)
def test_kvm_is_used_where_a_kernel_runs_under_it(
    flags: str,
    device: bool,
    program: str,
    accelerator: str,
    tmp_path: Path,
    fake_tools: AddTool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_tools(qemu.program(OWN), program)
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    if device:
        (tmp_path / "kvm").touch()
    monkeypatch.setattr(qemu, "_KVM", tmp_path / "kvm")
    monkeypatch.setattr(qemu, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(qemu, "_SECONDS_TO_SPEAK", 0.5 if program == _HANGS else 120.0)
    assert qemu.accelerator(tmp_path / f"vmlinuz-{tmp_path.name}") == accelerator


def test_without_qemu_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None if "qemu-" in tool else tool)
    with pytest.raises(LabError, match=r"qemu-system-x86_64, .*; run tools/bootstrap --machines"):
        lifecycle.up("noqemu", 1, ["12"], machines=True, architecture="x86_64")
    with pytest.raises(LabError, match=r"qemu-system-aarch64, .*; run tools/bootstrap --arm64"):
        lifecycle.up("noqemu", 1, ["12"], machines=True, architecture="aarch64")


def test_a_release_that_needs_cgroup_v2_is_no_container_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path)
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd/cgroup.procs").touch()
    with pytest.raises(LabError, match=r"Debian 14: its systemd needs cgroup v2.*--machines"):
        lifecycle.up("nogroup2", 1, ["12", "14"])
    cgroups.check(["11", "12", "13"])
    (tmp_path / "cgroup.procs").touch()
    cgroups.check(["14"])


def test_containers_have_the_architecture_of_this_machine() -> None:
    foreign = "x86_64" if OWN == "aarch64" else "aarch64"
    with pytest.raises(LabError, match=f"{foreign} takes --machines"):
        lifecycle.up("foreign", 1, ["12"], architecture=foreign)


def test_another_architecture_is_emulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever KVM can do here: it runs this machine's own alone."""
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu vmx\n")
    (tmp_path / "kvm").touch()
    monkeypatch.setattr(qemu, "_KVM", tmp_path / "kvm")
    monkeypatch.setattr(qemu, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(qemu, "_speaks", lambda _kernel: True)
    monkeypatch.setattr(qemu, "OWN", "x86_64")
    command = _command(tmp_path, monkeypatch, "aarch64")
    assert command[0] == "qemu-system-aarch64"
    assert command[command.index("-accel") + 1].startswith("tcg")
    assert command[command.index("-machine") + 1] == "virt"
    assert "console=ttyAMA0" in command[command.index("-append") + 1].split()


def _tree_with_a_kernel(directory: Path) -> tuple[Path, Path]:
    """A root file system and a layer with a kernel, as far as boot files need them."""
    tree, layer = directory / "suite-0123", directory / "suite-with-4567"
    modules = layer / "usr/lib/modules/6.1-test"
    for made in (tree, layer / "boot", layer / "usr/bin", modules / "kernel"):
        made.mkdir(parents=True)
    (layer / "boot/vmlinuz-6.1-test").write_text("kernel")
    (layer / "usr/bin/busybox").write_text("busybox")
    (modules / "kernel/virtio.ko").write_text("first")
    (modules / "kernel/virtio_ring.ko.xz").write_bytes(lzma.compress(b"second"))
    (modules / "kernel/virtio_blk.ko").write_text("third")
    (modules / "modules.dep").write_text(
        "kernel/virtio.ko:\n"
        "kernel/virtio_ring.ko.xz: kernel/virtio.ko\n"
        "kernel/virtio_blk.ko: kernel/virtio_ring.ko.xz kernel/virtio.ko\n"
    )
    return tree, layer


def test_boot_files_are_made_once_and_modules_follow_those_that_they_need(
    tmp_path: Path, fake_tools: AddTool
) -> None:
    tree, layer = _tree_with_a_kernel(tmp_path)
    fake_tools(
        "mke2fs", f'echo run >>{tmp_path}/runs; while [ "$1" != -d ]; do shift; done; ls $2 >$3'
    )
    files = boot_files.ensure(tree, [layer], Progress())
    assert boot_files.ensure(tree, [layer], Progress()) == files
    assert (tmp_path / "runs").read_text() == "run\n"
    assert files.disk.read_text() == "boot\nusr\n"
    assert files.kernel.read_text() == "kernel"
    initramfs = files.initramfs.read_bytes()
    contents = [initramfs.index(word) for word in (b"first", b"second", b"third")]
    assert contents == sorted(contents)
    assert b"virtio_ring.ko\0" in initramfs


def test_a_disk_that_cannot_be_made_leaves_nothing(tmp_path: Path, fake_tools: AddTool) -> None:
    tree, layer = _tree_with_a_kernel(tmp_path)
    fake_tools("mke2fs", "echo 'No space left on device' >&2; exit 1")
    with pytest.raises(LabError, match="No space left on device"):
        boot_files.ensure(tree, [layer], Progress())
    assert [path for path in tmp_path.glob("*machine*") if path.is_dir()] == []


@pytest.mark.parametrize("selinux", [False, True])
def test_a_machine_boots_with_selinux_where_a_layer_has_a_policy(
    selinux: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "accelerator", lambda *_: "tcg")
    command = _command(tmp_path, monkeypatch, "x86_64", selinux=selinux)
    assert ("security=selinux" in command[command.index("-append") + 1].split()) is selinux


def _command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, selinux: bool = False
) -> list[str]:
    """The command of QEMU with which a machine boots, which is not run."""
    tree, layer = _tree_with_a_kernel(tmp_path)
    if selinux:
        (layer / "etc/selinux").mkdir(parents=True)
        (layer / "etc/selinux/config").touch()
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: commands.append(command))
    monkeypatch.setattr(namespaces, "attach_machine", lambda _address: "port0")
    monkeypatch.setattr(cgroups, "create", lambda *_: [])
    paths = LabPaths(f"s{os.getpid()}")
    monkeypatch.setattr(LabPaths, "logs", tmp_path)
    spec = HostSpec("host1", 0, "13", tree, (layer,), True, architecture)
    machine.Machine(paths, spec).boot()
    (command,) = commands
    return command


def test_a_container_has_no_power_to_cut(two: RunningLab) -> None:
    status, output = lab("host", two.paths.name, "cut", "host1")
    assert status == 1
    assert "host1 is a container" in output
    assert two.on("host1", "echo there") == "there"
