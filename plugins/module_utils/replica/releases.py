# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases on a host: /opt/mcp-tunnel/<part>/<version>/, and `current`, a link to one of them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.paths import PYTHON
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import selinux_labels

ROOT = Path("/opt/mcp-tunnel")
PARTS = ("proxy", "cloudflared")
MOST = 100
"""Versions of a part that a host reports. All but a few are pruned."""
_MARK = "current"
_LIBS = ("lib", "module-lib", "command-lib")
_NEVER_IMPORTED = "/command-lib/(pygments|markdown_it)/"
"""Rich has them for source code and Markdown, which no command shows. They take half the time."""


def in_use(root: Path = ROOT) -> dict[str, str]:
    """Part to version of each active release that is complete and open to the services' users."""
    active = {part: Releases(part, root).current() for part in PARTS}
    return {
        part: version
        for part, version in active.items()
        if version
        and Releases(part, root).is_present(version)
        and not Releases(part, root).open_to_services(version, check_mode=True)
    }


def unpacked(root: Path = ROOT) -> dict[str, list[str]]:
    """Part to the versions that are complete there, active or not."""
    return {part: Releases(part, root).unpacked() for part in PARTS}


class Releases:
    """The releases of one part (proxy or cloudflared) of the stack."""

    def __init__(self, part: str, root: Path = ROOT) -> None:
        self._directory = root / part

    def path(self, version: str) -> Path:
        """The place where that release is, or will be."""
        return self._directory / version

    def is_present(self, version: str) -> bool:
        """Whether the release is complete: it gets its name only when everything is unpacked."""
        return self.path(version).is_dir()

    def unpacked(self) -> list[str]:
        """The versions that are complete, at most MOST of them."""
        with contextlib.suppress(OSError):
            return sorted(
                path.name
                for path in self._directory.iterdir()
                if path.is_dir() and not path.is_symlink() and path.suffix != ".tmp"
            )[:MOST]
        return []

    def current(self) -> str:
        """The active version, '' if there is none."""
        try:
            return os.readlink(self._directory / _MARK)
        except OSError:
            return ""

    def activate(self, version: str) -> None:
        """Makes *version* the active one, in one step."""
        secret_files.replace_link(str(self._directory / _MARK), version)

    def open_to_services(self, version: str, check_mode: bool) -> bool:
        """Lets the services' users read a release that is present; returns whether that changes it.

        It may have been made under a umask that hides it from them, as on hardened hosts, and
        without the labels of SELinux, by which the kernel knows a service from systemd.

        :raises TunnelError: if restorecon fails.
        """
        tree = self.path(version)
        closed = []
        for path in (self._directory.parent, self._directory, tree, *tree.rglob("*")):
            found = path.lstat().st_mode
            wanted = 0o755 if found & 0o100 else 0o644
            if not stat.S_ISLNK(found) and stat.S_IMODE(found) != wanted:
                closed.append((path, wanted))
        if not check_mode:
            for path, wanted in closed:
                path.chmod(wanted)
        mislabelled = selinux_labels.wrong(tree) if check_mode else selinux_labels.restore(tree)
        return bool(closed or mislabelled)

    def unpack(self, version: str, archive: Path) -> None:
        """Unpacks the tar.gz *archive* as release *version*, beside the active one.

        :raises TunnelError: if the archive holds anything but plain files below its top, or if
            restorecon fails.
        """
        with self._building(version) as tree:
            with tarfile.open(archive, "r:gz") as packed:
                for member in packed:
                    _extract(packed, member, tree)
            _compile(tree, self.path(version))

    def link(self, version: str, binary: str) -> None:
        """Makes release *version* of a link to *binary*, which belongs to a package of the host."""
        with self._building(version) as tree:
            (tree / "bin").mkdir()
            (tree / "bin" / os.path.basename(binary)).symlink_to(binary)

    def prune(self, keep: set[str]) -> list[str]:
        """Removes releases that are neither in *keep* nor active; returns their versions.

        The newest of them stays, for the operator who wants to go back one step.
        """
        if not self._directory.is_dir():
            return []
        with self._locked():
            kept = {*keep, self.current(), _MARK}
            others = [path for path in self._directory.iterdir() if path.name not in kept]
            others.sort(key=lambda path: path.lstat().st_mtime)
            for path in others[:-1]:
                shutil.rmtree(path)
        return [path.name for path in others[:-1]]

    @contextlib.contextmanager
    def _building(self, version: str) -> Iterator[Path]:
        """A tree that becomes the release at the end; a killed run leaves nothing with its name."""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        with self._locked():
            if self.is_present(version):  # another instance on this machine was faster
                tree = self._directory / f"{version}.again.tmp"
            else:
                tree = self._directory / f"{version}.tmp"
            shutil.rmtree(tree, ignore_errors=True)
            tree.mkdir(mode=0o755)
            try:
                yield tree
                os.sync()
                if not self.is_present(version):
                    secret_files.rename(str(tree), str(self.path(version)))
                    # Their right labels depend on their final paths.
                    selinux_labels.restore(self.path(version))
            finally:
                shutil.rmtree(tree, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Instances that share this machine may be deployed at the same time."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _extract(packed: tarfile.TarFile, member: tarfile.TarInfo, tree: Path) -> None:
    content = packed.extractfile(member) if member.isfile() else None
    parts = Path(member.name).parts
    if content is None or os.path.isabs(member.name) or ".." in parts:
        raise TunnelError(
            member.name, "has no place in a release", "Clear the controller's cache and run again"
        )
    path = tree.joinpath(*parts)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)
    path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _compile(tree: Path, final: Path) -> None:
    """Compiles the release: services cannot write below /opt, so each start would compile it all.

    The hashes are unchecked, because a release never changes. A file that does not compile is
    some package's test data, and nothing imports it. The path in tracebacks is that of the
    finished release, *final*.
    """
    libs = [lib for name in _LIBS if (lib := tree / name).is_dir()]
    if not libs:
        return
    command = [PYTHON, "-I", "-m", "compileall", "-qq", "--invalidation-mode", "unchecked-hash"]
    paths = ["-x", _NEVER_IMPORTED, "-s", str(tree), "-p", str(final), *map(str, libs)]
    subprocess.run([*command, *paths], check=False, stdin=subprocess.DEVNULL)  # noqa: S603
