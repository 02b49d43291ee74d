"""The files that a virtual machine boots from: a disk, a kernel, an initramfs to mount the disk.

Made once from a cached tree and the layers over it, and cached beside them. Like the tree they are
never written to again: each machine has a copy-on-write disk of its own above this one.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import LabError
from ..core.processes import run
from ..core.progress import Progress
from .architectures import OWN, debian, in_own_namespaces
from .rootfs import fresh, only_builder

_SIZE = "4G"  # sparse
#: With those that they depend on. ext4 asks for a checksum by name, which no list of modules says.
_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "ext4", "crc32c_generic")

#: Debian's packages of a policy for SELinux bring them.
SELINUX = "etc/selinux/config"
#: Debian 12's libselinux labels files by way of /proc. "-m" does not exclude what /proc/mounts has.
_LABEL = "/usr/sbin/setfiles -F -m -e /proc /etc/selinux/default/contexts/files/file_contexts"

#: ``/network`` and ``/own.tar`` are the machine's own (see ``machine``); the latter only a new disk
#: gets.
_INIT = f"""\
#!/bin/busybox sh
busybox mount -t devtmpfs dev /dev
for module in /modules/*; do busybox insmod "$module"; done
. /network
busybox mount -t ext4 -o noinit_itable /dev/vda /root || exec busybox poweroff -f
if [ ! -s /root/etc/machine-id ]; then
    busybox tar -xf /own.tar -C /root
    if [ -f /root/{SELINUX} ]; then
        busybox mount -t proc proc /root/proc
        busybox chroot /root {_LABEL} /etc /home /usr/local
        busybox umount /root/proc
    fi
fi
busybox mount -o move /dev /root/dev
exec busybox switch_root /root /sbin/init
"""

#: Run in mount and PID namespaces of its own. Arguments: the overlay's directories, mount point,
#: file to make. Labels are given here, because it takes a machine minutes.
_MAKE_DISK = f"""
set -eu
mount -t overlay disk -o "ro,lowerdir=$1" "$2"
mke2fs -q -t ext4 -m 0 -E lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0 -d "$2" "$3" {_SIZE}
if [ -f "$2/{SELINUX}" ]; then
    umount "$2"
    mount -o loop "$3" "$2"
    mount -t proc proc "$2/proc"
    chroot "$2" {_LABEL} /
    umount "$2/proc" "$2"
fi
"""


@dataclass(frozen=True)
class BootFiles:
    """The cached directory with the files.

    Attributes:
        directory: its name holds a hash of all that they are made from.
    """

    directory: Path

    @property
    def disk(self) -> Path:
        return self.directory / "disk.ext4"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.directory / "initramfs"


def packages(architecture: str) -> tuple[str, ...]:
    """Debian's kernel for virtual machines, and the initramfs's programs in one static file."""
    return (f"linux-image-cloud-{debian(architecture)}", "busybox-static")


def of(tree: Path, layers: Sequence[Path]) -> BootFiles:
    """The place of the files for a tree and its layers, the first one on top."""
    made_from = (*(path.name for path in (*layers, tree)), *_MODULES, _INIT, _MAKE_DISK)
    digest = hashlib.sha256("\0".join(made_from).encode()).hexdigest()[:12]
    return BootFiles(tree.parent / f"{tree.name.partition('-')[0]}-machine-{digest}")


def ensure(
    tree: Path, layers: Sequence[Path], progress: Progress, architecture: str = OWN
) -> BootFiles:
    """Returns the cached files, making them first if need be.

    Args:
        layers: one of them has the :func:`packages`.

    Raises:
        LabError: the layers have no kernel, or a program failed.
    """
    files = of(tree, layers)
    with only_builder(files.directory, progress):
        if not files.directory.is_dir():
            progress.step(f"making the disk {files.directory.name} (once)")
            _make(tree, layers, files.directory, architecture)
    return files


def _make(tree: Path, layers: Sequence[Path], directory: Path, architecture: str) -> None:
    partial, root = (fresh(directory, kind) for kind in ("partial", "root"))
    try:
        for place in (partial, root):
            place.mkdir()
        made = BootFiles(partial)
        layer = next((each for each in layers if _kernels(each)), None)
        if layer is None:
            raise LabError(
                f"{tree.name}: none of its layers has a kernel; remove them from the cache"
            )
        kernel = _kernels(layer)[-1]
        shutil.copy(kernel, made.kernel)
        made.initramfs.write_bytes(_initramfs(layer, kernel.name.partition("-")[2]))
        lower = ":".join(str(path) for path in (*layers, tree))
        script = ["/bin/sh", "-c", _MAKE_DISK, "disk", lower, str(root), str(made.disk)]
        run(in_own_namespaces(script, architecture))
        os.sync()
        partial.rename(directory)
    finally:
        for place in (partial, root):
            shutil.rmtree(place, ignore_errors=True)


def _kernels(layer: Path) -> list[Path]:
    return sorted((layer / "boot").glob("vmlinuz-*"))


def _initramfs(layer: Path, version: str) -> bytes:
    busybox = next(
        path for path in (layer / "usr/bin/busybox", layer / "bin/busybox") if path.is_file()
    )
    programs = {"bin/busybox": busybox.read_bytes(), "init": _INIT.encode()}
    modules = {
        f"modules/{number:02}-{name}": content
        for number, (name, content) in enumerate(_modules(layer / "usr/lib/modules" / version))
    }
    return archive(
        {**programs, **modules}, directories=("bin", "dev", "modules", "root"), mode=0o755
    )


def _modules(directory: Path) -> Iterator[tuple[str, bytes]]:
    """The modules that are needed and not built in, each after those that it needs."""
    needs: dict[str, list[str]] = {}
    for line in (directory / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        needs[path] = needed.split()
    by_name = {path.rpartition("/")[2].partition(".")[0].replace("-", "_"): path for path in needs}
    wanted: dict[str, None] = {}
    for name in _MODULES:
        if name in by_name:
            # modprobe loads the list from its end.
            wanted.update(dict.fromkeys([*reversed(needs[by_name[name]]), by_name[name]]))
    for path in wanted:
        content = (directory / path).read_bytes()
        yield (
            path.rpartition("/")[2].removesuffix(".xz"),
            lzma.decompress(content) if path.endswith(".xz") else content,
        )


def archive(
    files: Mapping[str, bytes], directories: Sequence[str] = (), mode: int = 0o600
) -> bytes:
    """An archive as the kernel unpacks it; several may follow each other.

    Source: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel ("newc").
    """
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in directories]
    entries += [(name, stat.S_IFREG | mode, content) for name, content in files.items()]
    entries.append(("TRAILER!!!", 0, b""))
    return b"".join(_entry(*entry) for entry in entries)


def _entry(name: str, mode: int, content: bytes) -> bytes:
    # ino, mode, uid, gid, nlink, mtime, filesize, device of the file, device it is, namesize, check
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    header = "070701" + "".join(f"{number:08x}" for number in numbers) + name + "\0"
    return _padded(header.encode()) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
