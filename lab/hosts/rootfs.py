"""Root file systems of the hosts: built once with mmdebstrap, cached, shared by all labs.

A cached tree is never written to: hosts see it through overlayfs. Its name holds a hash of
the recipe below, so a changed recipe makes a new tree and running labs keep the old one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.checkouts import ROOT
from ..core.errors import LabError
from ..core.paths import cache_root
from ..core.processes import dies_with_me, run
from ..core.progress import Pace, Progress
from .architectures import OWN, debian, in_own_namespaces
from .mirror import KEYRING, Mirror, find_mirror

#: Debian release -> suite.
SUITES: dict[str, str] = {"11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"}

#: A bare server as an operator would hand it over, without anything extra for the project.
_PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "libpam-systemd",
    "netbase",
    "nftables",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)

#: Run in the new tree. The user is the one that Ansible logs in as.
_SETUP = r"""
set -eu
useradd --create-home --shell /bin/bash ops
printf 'ops ALL=(ALL:ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/ops
chmod 0440 /etc/sudoers.d/ops
install -d -m 0700 -o ops -g ops /home/ops/.ssh
printf 'LANG=C.UTF-8\n' >/etc/default/locale
# Made anew for every host.
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id /etc/hostname /etc/resolv.conf
install -m 0444 /dev/null /etc/machine-id
ln -s /etc/machine-id /var/lib/dbus/machine-id
# They would only burn time: there is no archive to ask and no console to log in at.
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer console-getty.service
apt-get clean
# Of the builder: a host syncs what it installs.
rm -f /etc/dpkg/dpkg.cfg.d/99mmdebstrap
rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/bootstrap.log /var/log/dpkg.log
"""

_HOOKS = "/usr/share/mmdebstrap/hooks"
#: As the installer does; usrmerge, which apt takes in Debian 12 otherwise, brings all of Perl.
_MERGED = (f"--hook-directory={_HOOKS}/merged-usr",)
#: Debian 11 does not have the package that the hooks would replace theirs with.
_MERGED_WITHOUT_A_PACKAGE = (
    f"--setup-hook={_HOOKS}/merged-usr/setup00.sh",
    '--essential-hook=chroot "$1" dpkg --purge usr-is-merged',
)
#: The index of a release that is not out yet is valid for a week, and a mirror may be older. Old
#: packages do no harm to hosts that reach no other network.
_OF_ANY_AGE = ("--aptopt=Acquire::Check-Valid-Until false",)
#: So that apt in the new tree reaches a mirror that is a directory of this machine.
_OF_FILES = f"--hook-directory={_HOOKS}/file-mirror-automount"

#: mmdebstrap writes about so many: some nine for each package.
_LINES = 1400


def _tree(suite: str, architecture: str) -> Path:
    recipe = "\0".join(("mmdebstrap", suite, architecture, *_PACKAGES, _SETUP))
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    kind = suite if architecture == OWN else f"{suite}.{debian(architecture)}"
    return cache_root() / "rootfs" / f"{kind}-{digest}"


@contextmanager
def only_builder(tree: Path, progress: Progress) -> Iterator[None]:
    """Waits until no other lab builds this tree."""
    lock = os.open(f"{tree}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.step(f"waiting: {tree.name} is being built")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def fresh(tree: Path, kind: str) -> Path:
    """A new path beside the tree; leftovers of killed builders are removed.

    The lock of a killed builder is free at once, its programs end a moment later: they must not
    write into what the next one builds. The caller is the only builder.
    """
    for left in tree.parent.glob(f".{tree.name}.*.{kind}"):
        shutil.rmtree(left, ignore_errors=True)  # in use: the next builder's turn
    return tree.parent / f".{tree.name}.{uuid.uuid4().hex}.{kind}"


def ensure_all(
    releases: Iterable[str], progress: Progress, architecture: str = OWN
) -> dict[str, Path]:
    """Returns the cached tree of each Debian release; those that are missing are built together.

    Each has a process of its own, but for the last one. A process that fails says nothing: its lock
    is then free, so the tree is built here, and the reason is seen.

    Raises:
        LabError: as :func:`ensure`.
    """
    wanted = list(dict.fromkeys(releases))
    missing = [each for each in wanted if not _tree(_suite(each), architecture).is_dir()]
    beside = [_build_beside(each, architecture) for each in missing[:-1]]
    if beside:
        progress.step(f"root file systems of Debian {', '.join(missing)}, side by side")
    try:
        trees = {each: ensure(each, progress, architecture) for each in [*missing[-1:], *wanted]}
    finally:
        for process in beside:
            process.kill()
            process.wait()
    return {each: trees[each] for each in wanted}


def _build_beside(release: str, architecture: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        dies_with_me(
            [sys.executable, "-m", "lab", "rootfs", "--architecture", architecture, release]
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def _suite(release: str) -> str:
    suite = SUITES.get(release)
    if suite is None:
        raise LabError(f"Debian {release!r}: the lab knows {', '.join(SUITES)}")
    return suite


def ensure(release: str, progress: Progress, architecture: str = OWN) -> Path:
    """Returns the cached tree of a Debian release, building it first if need be.

    Args:
        architecture: with another than this machine's, it takes ten times as long.

    Raises:
        LabError: unknown release, no mirror, or mmdebstrap failed.
    """
    suite = _suite(release)
    tree = _tree(suite, architecture)
    if tree.is_dir():
        return tree
    tree.parent.mkdir(parents=True, exist_ok=True)
    with only_builder(tree, progress):
        if not tree.is_dir():
            _build(release, suite, architecture, tree, progress)
    return tree


def _build(release: str, suite: str, architecture: str, tree: Path, progress: Progress) -> None:
    mirror = find_mirror()
    if not KEYRING.is_file():
        raise LabError(f"{KEYRING} is missing: install debian-archive-keyring")
    progress.step(f"building the root file system of Debian {release} (once: it is kept)")
    partial = fresh(tree, "partial")
    try:
        _mmdebstrap(suite, architecture, partial, mirror, progress)
        progress.detail("setting up the user and ssh")
        run(in_own_namespaces(["chroot", str(partial), "/bin/sh", "-c", _SETUP], architecture))
        os.sync()
        partial.rename(tree)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _mmdebstrap(
    suite: str, architecture: str, target: Path, mirror: Mirror, progress: Progress
) -> None:
    command = [
        "mmdebstrap",
        "--verbose",
        "--mode=root",
        "--variant=minbase",
        f"--architectures={debian(architecture)}",
        # It looks for other programs than those that run another architecture's here.
        "--skip=check/qemu",
        f"--keyring={KEYRING}",
        # No fsync(2) for every file: the whole tree is written to the disk before it gets its name.
        "--dpkgopt=force-unsafe-io",
        f"--include={','.join(_PACKAGES)}",
        *(_MERGED_WITHOUT_A_PACKAGE if suite == SUITES["11"] else _MERGED),
        *(_OF_ANY_AGE if suite == SUITES["14"] else ()),
        *([_OF_FILES] if mirror.url.startswith("file:") else []),
        suite,
        str(target),
        mirror.url,
    ]
    with subprocess.Popen(
        in_own_namespaces(command, architecture),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **mirror.environment, "LC_ALL": "C"},
    ) as process:
        assert process.stdout is not None
        said: list[str] = []
        pace = Pace(_LINES)
        try:
            for line in process.stdout:
                text = line.strip().removeprefix("I: ")
                said.append(text)
                pace.step()
                progress.detail(f"{pace}: {text}")
        except BaseException:
            process.kill()
            process.stdout.read()  # ends when the last process that could still write is gone
            raise
    if process.returncode != 0:
        tail = "\n  ".join(said[-8:])
        raise LabError(f"mmdebstrap of {suite} from {mirror.url} failed; its last words:\n  {tail}")
