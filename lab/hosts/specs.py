"""The specification of a host, and the files that only it has: the same for both kinds of host."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import LabError
from ..core.processes import run
from ..network.addresses import GATEWAY_V4, MAX_HOSTS, HostAddress
from .architectures import OWN
from .ssh import HostKey

_CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_CA_SOURCES = "usr/local/share/ca-certificates"


@dataclass(frozen=True)
class HostSpec:
    """Specification of a host.

    Attributes:
        name: host name, SSH alias and inventory name.
        index: position in the lab, which gives its addresses.
        debian: Debian release, e.g. "12".
        tree: root file system, not written to.
        layers: laid over it, the first one on top; not written to either.
        machine: a virtual machine with a kernel of its own, else a container.
        architecture: as the kernel calls it.
    """

    name: str
    index: int
    debian: str
    tree: Path
    layers: tuple[Path, ...] = ()
    machine: bool = False
    architecture: str = OWN

    @property
    def address(self) -> HostAddress:
        return HostAddress(self.index)


def plan_hosts(
    count: int,
    releases: Sequence[str],
    trees: Mapping[str, Sequence[Path]],
    machines: bool = False,
    architecture: str = OWN,
) -> list[HostSpec]:
    """host1, host2, …, cycling over the Debian releases.

    Args:
        trees: release -> root file system, followed by the layers over it, the first one on top.
        machines: whether they are virtual machines.
        architecture: that of the trees.

    Raises:
        LabError: a bad count.
    """
    if not 1 <= count <= MAX_HOSTS:
        raise LabError(f"--hosts {count}: between 1 and {MAX_HOSTS}")
    cycle = [releases[index % len(releases)] for index in range(count)]
    return [
        HostSpec(
            f"host{index + 1}",
            index,
            debian,
            trees[debian][0],
            tuple(trees[debian][1:]),
            machines,
            architecture,
        )
        for index, debian in enumerate(cycle)
    ]


@dataclass(frozen=True)
class OwnFile:
    """A file that a host has for itself; root owns it.

    Attributes:
        text: its content.
        mode: its permissions.
    """

    text: str
    mode: int = 0o644


def own_files(
    spec: HostSpec, cas: Sequence[str], key: HostKey, authorized: str
) -> dict[str, OwnFile]:
    """The host's identity, by path below the root.

    Args:
        cas: PEM texts for the system's trust store.
        key: the host's SSH key.
        authorized: public key that may log in.
    """
    files = {
        "etc/hostname": OwnFile(f"{spec.name}\n"),
        "etc/hosts": OwnFile(
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
            f"{spec.address.v4} {spec.name}\n{spec.address.v6} {spec.name}\n"
        ),
        "etc/machine-id": OwnFile(f"{uuid.uuid4().hex}\n"),
        "etc/resolv.conf": OwnFile(f"nameserver {GATEWAY_V4}\n"),
        "etc/ssh/ssh_host_ed25519_key": OwnFile(key.private, 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": OwnFile(key.public),
        "home/ops/.ssh/authorized_keys": OwnFile(authorized),
    }
    # As update-ca-certificates would do it; a run of it on the host keeps this.
    for number, pem in enumerate(cas):
        files[f"{_CA_SOURCES}/lab-{number}.crt"] = OwnFile(pem)
        # Where OpenSSL of Debian 11 looks, which does not read the bundle.
        subject = run(["openssl", "x509", "-noout", "-subject_hash"], stdin=pem).strip()
        files[f"etc/ssl/certs/{subject}.0"] = OwnFile(pem)
    trusted = next(
        bundle for each in (*spec.layers, spec.tree) if (bundle := each / _CA_BUNDLE).is_file()
    )
    files[_CA_BUNDLE] = OwnFile(trusted.read_text() + "".join(cas))
    return files
