"""Hosts: Debian in a container (systemd-nspawn), each on its own overlay and network namespace."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from ..core.paths import LabPaths
from ..core.processes import run
from ..network import namespaces
from . import cgroups
from .specs import HostSpec, own_files
from .ssh import HostKey

#: Vendor behaviour: with --keep-unit, nspawn ends with this status when the host reboots.
REBOOT_STATUS = 133


class Container:
    """One container of a lab; lives in the supervisor."""

    boot_again = REBOOT_STATUS

    def __init__(self, paths: LabPaths, spec: HostSpec) -> None:
        self.spec = spec
        self._paths = paths
        self._disk = paths.disks / spec.name
        self._root = self._disk / "root"

    def prepare(self, cas: Sequence[str], key: HostKey, authorized: str) -> None:
        """Mounts the host's disk and writes this host's own files (see ``specs.own_files``)."""
        upper, work = self._disk / "upper", self._disk / "work"
        for path in (upper, work, self._root):
            path.mkdir(parents=True)
        lower = ":".join(str(path) for path in (*self.spec.layers, self.spec.tree))
        # volatile: nobody needs this disk after a crash of the machine, so do not wait for it.
        options = f"lowerdir={lower},upperdir={upper},workdir={work},volatile"
        run(["mount", "-t", "overlay", self._paths.label, "-o", options, str(self._root)])
        for name, file in own_files(self.spec, cas, key, authorized).items():
            target = self._root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(file.text)
            target.chmod(file.mode)

    def boot(self) -> subprocess.Popen[bytes]:
        """Starts the host on its disk and address; the process ends when the host does.

        Raises LabError or OSError, after which it may be called again.
        """
        name = self.spec.name
        namespaces.attach_host(name, self.spec.address)
        # Remains of a previous boot in the cgroup would confuse the next systemd.
        cgroups.remove(self._paths.label, name)
        group = cgroups.create(self._paths.label, name)
        with (self._paths.logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self._nspawn(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                preexec_fn=lambda: cgroups.join(group),
            )

    def _nspawn(self) -> list[str]:
        name = self.spec.name
        return [
            "systemd-nspawn",
            "--quiet",
            # Neither a unit nor a machine of a service manager outside, and no settings from it.
            "--register=no",
            "--keep-unit",
            "--settings=no",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--console=pipe",
            f"--machine={self._paths.label}-{name}",
            f"--hostname={name}",
            f"--directory={self._root}",
            f"--network-namespace-path=/run/netns/{name}",
            "--capability=CAP_NET_ADMIN",
            "--boot",
        ]
