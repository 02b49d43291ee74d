"""Debian packages on top of a root file system: installed once, switched off, cached as a layer.

A layer is what the installation has added to a cached tree: an overlay's upper directory. Like
the tree it is never written to again, and its name holds a hash of all that made it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import LabError
from ..core.progress import Progress
from .architectures import OWN, in_own_namespaces
from .mirror import find_mirror
from .rootfs import fresh, only_builder

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+\Z")

#: Run in mount and PID namespaces of its own. Arguments: tree, upper directory, mount point with
#: work directory beside it, directory of the mirror if it is on this machine, packages.
_INSTALL = r"""
set -eu
tree=$1 upper=$2 root=$3 mirror=$4
shift 4
mount -t overlay layer -o "lowerdir=$tree,upperdir=$upper,workdir=$root.work" "$root"
mount -t proc proc "$root/proc"
# Mounted over rather than written: the layer keeps nothing of this machine.
for file in resolv.conf hosts; do
    touch "$root/etc/$file"
    mount --bind "$(readlink -f "/etc/$file")" "$root/etc/$file"
done
if [ -n "$mirror" ]; then
    mkdir -p "$root$mirror"
    mount --bind "$mirror" "$root$mirror"
fi
mount -t tmpfs tmpfs "$root/tmp"
# Nothing is started during the installation (Debian's policy-rc.d), nothing is enabled after it.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"
exec chroot "$root" /bin/sh -eu -c '
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends "$@"
    for package; do dpkg -L "$package"; done |
        grep -E "^(/usr)?/lib/systemd/system/[^/@]+[.](service|socket|timer)$" |
        xargs -rn1 basename | sort -u | xargs -r systemctl --quiet disable
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log
    rm -f /usr/sbin/policy-rc.d
' install "$@"
"""


def ensure(
    tree: Path, packages: Sequence[str], progress: Progress, architecture: str = OWN
) -> Path:
    """Returns the cached layer with these packages for a tree, building it first if need be.

    Raises:
        LabError: a name is not a package's, or apt could not install them.
    """
    wanted = sorted(set(packages))
    for name in wanted:
        if not _PACKAGE.match(name):
            raise LabError(f"--with {name!r}: not a Debian package's name")
    digest = hashlib.sha256("\0".join((tree.name, *wanted, _INSTALL)).encode()).hexdigest()[:12]
    layer = tree.parent / f"{tree.name.partition('-')[0]}-with-{digest}"
    if layer.is_dir():
        return layer
    with only_builder(layer, progress):
        if not layer.is_dir():
            _build(tree, wanted, layer, progress, architecture)
    return layer


def _build(
    tree: Path, packages: Sequence[str], layer: Path, progress: Progress, architecture: str
) -> None:
    progress.step(f"installing {', '.join(packages)} beside {tree.name} (once)")
    partial, root = (fresh(layer, kind) for kind in ("partial", "root"))
    fresh(layer, "root.work")  # its name is made from the other's
    work = root.with_name(f"{root.name}.work")
    places = (partial, root, work)
    mirror = find_mirror()
    try:
        for place in places:
            place.mkdir()
        # The root directory of the hosts: an upper directory lends it its mode.
        partial.chmod(0o755)
        local = mirror.url.removeprefix("file:") if mirror.url.startswith("file:") else ""
        arguments = (tree, partial, root, re.sub("^/+", "/", local), *packages)
        done = subprocess.run(
            in_own_namespaces(
                ["/bin/sh", "-c", _INSTALL, "install", *map(str, arguments)], architecture
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                **mirror.environment,
                "DEBIAN_FRONTEND": "noninteractive",
                # Of a kernel. Machines boot from another (``boot_files``); this takes minutes.
                "INITRD": "No",
                "LC_ALL": "C",
            },
            check=False,
        )
        if done.returncode != 0:
            tail = "\n  ".join(done.stdout.strip().splitlines()[-8:])
            raise LabError(f"--with {','.join(packages)}: installation failed:\n  {tail}")
        os.sync()
        partial.rename(layer)
    finally:
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
