"""QEMU's command line, and whether this machine can run virtual machines without emulation."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .architectures import OWN
from .boot_files import BootFiles

_TOOLS = ("qemu-img", "mke2fs")

#: MiB; more than any unit of the stack may have, so that its own limit is the one that is met.
_MEMORY = 1536
_PROCESSORS = 1
#: MiB for translated code, so that a deployment does not fill it: QEMU then throws all of it away.
_TRANSLATED = 512


@dataclass(frozen=True)
class _Board:
    """What QEMU emulates of an architecture.

    Attributes:
        machine: the argument of ``-machine``.
        processor: the argument of ``-cpu``.
        serial: the kernel's name for the serial port.
    """

    machine: str
    processor: str
    serial: str


_BOARDS = {
    # Emulated, each of these costs more than it brings: five levels of page tables make each access
    # to memory slower; strings are copied by bytes, one instruction each; and each time that the
    # kernel reads or writes a process's memory, translation starts anew.
    "x86_64": _Board("q35", "max,la57=off,erms=off,smap=off", "ttyS0"),
    # Pointers are authenticated, and vectors computed, by many instructions each. This model has
    # what spares the kernel page tables of its own (E0PD), unlike those of real processors.
    "aarch64": _Board("virt", "max,pauth=off,sve=off,lpa2=off", "ttyAMA0"),
}

_KVM, _CPUINFO = Path("/dev/kvm"), Path("/proc/cpuinfo")
_SECONDS_TO_SPEAK = 10.0


def program(architecture: str) -> str:
    """QEMU's command for machines of an architecture."""
    return f"qemu-system-{architecture}"


def tools(architecture: str) -> Sequence[str]:
    """The commands that machines of an architecture need, with those that make their disks."""
    emulator = () if architecture == OWN else (f"qemu-{architecture}-static",)
    return (program(architecture), *emulator, *_TOOLS)


def console(architecture: str) -> str:
    """The kernel's argument for its console, which QEMU writes to standard output."""
    return f"console={_BOARDS[architecture].serial}"


@functools.cache
def accelerator(kernel: Path, architecture: str = OWN) -> str:
    """The argument of ``-accel``: KVM where it runs this kernel, else emulation.

    A device that opens proves nothing: it does also where the processor of a nested machine has no
    virtualization, and some kernels then even make virtual machines, in which others never start.
    """
    virtualization = {"vmx", "svm"} & set(_CPUINFO.read_text().split())
    own = architecture == OWN
    if own and virtualization and os.access(_KVM, os.R_OK | os.W_OK) and _speaks(kernel):
        return "kvm"
    return f"tcg,tb-size={_TRANSLATED}"


def _speaks(kernel: Path) -> bool:
    """Whether the kernel comes as far as to its first words, and then to its end, under KVM."""
    command = [
        *(program(OWN), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-accel", "kvm", "-cpu", "max", "-machine", "q35", "-m", "256", "-serial", "stdio"),
        *("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS_TO_SPEAK,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"Linux version" in done.stdout


def command(
    *,
    name: str,
    files: BootFiles,
    initramfs: Path,
    disk: Path,
    port: str,
    mac: str,
    kernel_arguments: str,
    architecture: str = OWN,
) -> list[str]:
    """The command that runs a machine in the foreground, its console on standard output.

    Args:
        disk: in the format qcow2.
        port: a tap device.
    """
    board = _BOARDS[architecture]
    return [
        *(program(architecture), "-name", name, "-nodefaults", "-no-user-config"),
        *("-display", "none", "-accel", accelerator(files.kernel, architecture)),
        *("-machine", board.machine, "-cpu", board.processor),
        *("-m", str(_MEMORY), "-smp", str(_PROCESSORS)),
        *("-kernel", str(files.kernel), "-initrd", str(initramfs), "-append", kernel_arguments),
        # "unsafe" waits for no disk of ours. What a machine has on its disk outlives QEMU all the
        # same: the kernel here has it then.
        *("-drive", f"file={disk},format=qcow2,if=virtio,discard=unmap,cache=unsafe"),
        *("-netdev", f"tap,id=lan,ifname={port},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=lan,mac={mac},romfile="),
        *("-device", "virtio-rng-pci", "-serial", "stdio", "-monitor", "none"),
    ]
