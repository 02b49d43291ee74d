"""Hosts: Debian on a virtual machine with a kernel of its own (QEMU), each on its own disk."""

from __future__ import annotations

import io
import signal
import subprocess
import tarfile
from collections.abc import Mapping, Sequence

from ..core.paths import LabPaths
from ..core.processes import run
from ..network import namespaces
from ..network.addresses import GATEWAY_V4, GATEWAY_V6, HostAddress
from . import boot_files, cgroups, qemu
from .specs import HostSpec, OwnFile, own_files
from .ssh import HostKey

#: The address is settled before the machine's own programs run, as that of a container is.
_NETWORK = """\
busybox ip link set lo up
busybox ip link set eth0 up
busybox ip address add {address.v4}/24 dev eth0
busybox ip address add {address.v6}/64 dev eth0
busybox ip route add default via {gateway_v4}
busybox ip -6 route add default via {gateway_v6}
"""

_KERNEL_ARGUMENTS = (
    "quiet panic=-1 net.ifnames=0 "
    # No logins at a console, and no strangers on this processor.
    "systemd.getty_auto=no systemd.mask=getty@tty1.service mitigations=off "
    # Clearing and copying memory is dear in an emulation: not more than is needed.
    "init_on_alloc=0 transparent_hugepage=never"
)
_OF_ARCHITECTURES = {
    # Memory is copied by words.
    "x86_64": "clearcpuid=rep_good no_timer_check",
    "aarch64": "",
}
#: Debian's kernel has AppArmor switched on. SELinux takes its place where that is asked for, as
#: selinux-activate(8) does.
_SELINUX_ARGUMENT = "security=selinux"


class Machine:
    """One virtual machine of a lab; lives in the supervisor.

    A reboot happens inside QEMU. A machine whose QEMU is killed boots again, as one does whose
    power was cut and comes back.
    """

    boot_again = -signal.SIGKILL

    def __init__(self, paths: LabPaths, spec: HostSpec) -> None:
        self.spec = spec
        self._paths = paths
        self._files = boot_files.of(spec.tree, spec.layers)
        self._disk = paths.disks / spec.name / "disk.qcow2"
        self._initramfs = paths.disks / spec.name / "initramfs"

    def prepare(self, cas: Sequence[str], key: HostKey, authorized: str) -> None:
        """Makes the machine's disk, and an initramfs that writes its own files to it.

        See ``specs.own_files``.
        """
        self._disk.parent.mkdir(parents=True)
        base = ("-b", str(self._files.disk), "-F", "raw")
        run(["qemu-img", "create", "-q", "-f", "qcow2", *base, str(self._disk)])
        own = {
            "network": _network(self.spec.address).encode(),
            "own.tar": _tar(own_files(self.spec, cas, key, authorized)),
        }
        self._initramfs.write_bytes(self._files.initramfs.read_bytes() + boot_files.archive(own))
        self._initramfs.chmod(0o600)

    def boot(self) -> subprocess.Popen[bytes]:
        """Switches the machine on; the process ends when it is switched off.

        Raises LabError or OSError, after which it may be called again.
        """
        name = self.spec.name
        port = namespaces.attach_machine(self.spec.address)
        group = cgroups.create(self._paths.label, name)
        command = qemu.command(
            name=f"{self._paths.label}-{name}",
            files=self._files,
            initramfs=self._initramfs,
            disk=self._disk,
            port=port,
            mac=self.spec.address.mac,
            kernel_arguments=_kernel_arguments(self.spec),
            architecture=self.spec.architecture,
        )
        with (self._paths.logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                preexec_fn=lambda: cgroups.join(group),
            )


def _kernel_arguments(spec: HostSpec) -> str:
    selinux = any((layer / boot_files.SELINUX).is_file() for layer in spec.layers)
    own = (qemu.console(spec.architecture), _OF_ARCHITECTURES[spec.architecture])
    return " ".join((_KERNEL_ARGUMENTS, *own, *([_SELINUX_ARGUMENT] if selinux else [])))


def _network(address: HostAddress) -> str:
    return _NETWORK.format(address=address, gateway_v4=GATEWAY_V4, gateway_v6=GATEWAY_V6)


def _tar(files: Mapping[str, OwnFile]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, file in files.items():
            content = file.text.encode()
            # Of root, by default. Without entries of directories: those keep their owners.
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), file.mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
