"""Hosts: Debian under systemd-nspawn, each on its own overlay and network namespace."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import LabError
from ..core.paths import LabPaths
from ..core.processes import run
from ..network import namespaces
from ..network.addresses import GATEWAY_V4, MAX_HOSTS, HostAddress
from . import cgroups
from .ssh import HostKey

_CA_BUNDLE = Path("etc/ssl/certs/ca-certificates.crt")
_CA_SOURCES = Path("usr/local/share/ca-certificates")


@dataclass(frozen=True)
class HostSpec:
    """Specification of a host.

    Attributes:
        name: host name, SSH alias and inventory name.
        index: position in the lab, which gives its addresses.
        debian: Debian release, e.g. "12".
        tree: root file system, not written to.
        layers: laid over it, the first one on top; not written to either.
    """

    name: str
    index: int
    debian: str
    tree: Path
    layers: tuple[Path, ...] = ()

    @property
    def address(self) -> HostAddress:
        return HostAddress(self.index)


class Host:
    """One host of a lab; lives in the supervisor."""

    def __init__(self, paths: LabPaths, spec: HostSpec) -> None:
        self.spec = spec
        self._paths = paths
        self._disk = paths.disks / spec.name
        self._root = self._disk / "root"

    def prepare(
        self, layers: Sequence[Path], cas: Sequence[str], key: HostKey, authorized: str
    ) -> None:
        """Mounts the host's disk and writes this host's own files.

        Args:
            layers: trees laid over the host's own, the first one on top.
            cas: PEM texts for the system's trust store.
            key: the host's SSH key.
            authorized: public key that may log in.
        """
        upper, work = self._disk / "upper", self._disk / "work"
        for path in (upper, work, self._root):
            path.mkdir(parents=True)
        lower = ":".join(str(path) for path in (*layers, *self.spec.layers, self.spec.tree))
        # volatile: nobody needs this disk after a crash of the machine, so do not wait for it.
        options = f"lowerdir={lower},upperdir={upper},workdir={work},volatile"
        run(["mount", "-t", "overlay", self._paths.label, "-o", options, str(self._root)])
        self._write("etc/hostname", f"{self.spec.name}\n")
        self._write(
            "etc/hosts",
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
            f"{self.spec.address.v4} {self.spec.name}\n{self.spec.address.v6} {self.spec.name}\n",
        )
        self._write("etc/machine-id", f"{uuid.uuid4().hex}\n")
        self._write("etc/resolv.conf", f"nameserver {GATEWAY_V4}\n")
        self._write("etc/ssh/ssh_host_ed25519_key", key.private, mode=0o600)
        self._write("etc/ssh/ssh_host_ed25519_key.pub", key.public)
        self._write("home/ops/.ssh/authorized_keys", authorized)
        self._trust(cas)

    def _write(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self._root / path
        target.write_text(text)
        target.chmod(mode)

    def _trust(self, cas: Sequence[str]) -> None:
        # As update-ca-certificates would do it; a run of it on the host keeps this.
        sources = self._root / _CA_SOURCES
        sources.mkdir(parents=True, exist_ok=True)
        bundle = self._root / _CA_BUNDLE
        for number, pem in enumerate(cas):
            (sources / f"lab-{number}.crt").write_text(pem)
        bundle.write_text(bundle.read_text() + "".join(cas))

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


def plan_hosts(
    count: int, releases: Sequence[str], trees: Mapping[str, Sequence[Path]]
) -> list[HostSpec]:
    """host1, host2, …, cycling over the Debian releases.

    Args:
        trees: release -> root file system, followed by the layers over it, the first one on top.

    Raises:
        LabError: a bad count.
    """
    if not 1 <= count <= MAX_HOSTS:
        raise LabError(f"--hosts {count}: between 1 and {MAX_HOSTS}")
    cycle = [releases[index % len(releases)] for index in range(count)]
    return [
        HostSpec(f"host{index + 1}", index, debian, trees[debian][0], tuple(trees[debian][1:]))
        for index, debian in enumerate(cycle)
    ]
