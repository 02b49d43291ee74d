# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy's release: its source and the locked wheels for one Python and one architecture.

With :mod:`compiled` modules, if there are some for that source and that host.

It also carries what this collection's modules need on a host, and the commands that a host runs
by itself, in directories of their own: the proxy cannot import them, and modules never find another
version of themselves there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.cache import (
    cached,
    is_cached,
    scratch_directory,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import pip_settings
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.command_source import (
    PACKAGE,
    needed_files,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.compiled import (
    Wheel,
    wheel_for,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.places import Places
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.tarball import pack

# manylinux names the oldest glibc that a wheel runs on (PEP 600); hosts need 2.28, see host_check.
PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
ARCHITECTURES = ("x86_64", "aarch64")
INSTALL_ROOT = "/opt/mcp-tunnel/proxy"

# -I and -S: nothing of the host's own Python packages or environment reaches the service.
_LAUNCHER = """\
#!/usr/bin/python3 -IS
import sys

sys.path[:0] = {path!r}
from {module} import main

sys.exit(main())
"""

#: The commands of a host, to their modules in module_utils.
_COMMANDS = {
    "mcp-tunnel": "commands.mcp_tunnel",
    "mcp-tunnel-renew-cert": "commands.renew_cert",
    "mcp-tunnel-sign-cert": "commands.sign_cert",
    "mcp-tunnel-pass-question": "commands.pass_question",
}
_COLLECTION = Path(__file__).resolve().parents[3]

# For Ansible modules, which find their libraries in the release on a host that has none.
_INTERPRETER = """\
#!/bin/sh
PYTHONPATH={lib}:{module_lib} exec /usr/bin/python3 "$@"
"""


# As platform.python_version() says it: 3.13.5, 3.14.0rc2, 3.11.2+.
_PYTHON_VERSION = re.compile(r"3\.[0-9]{1,3}\.[0-9]{1,3}(?:(?:a|b|rc)[0-9]{1,3})?\+?")


@dataclass(frozen=True)
class Target:
    """A host's CPython: its full version (``3.11.2``), and the machine as ``uname -m`` says it.

    The host itself supplies both. They become part of file names and of pip's arguments here.

    :raises TunnelError: if the host has said anything else.
    """

    python_version: str
    architecture: str

    def __post_init__(self) -> None:
        if not _PYTHON_VERSION.fullmatch(self.python_version):
            raise TunnelError(
                "python_version",
                f"the host says {shown(self.python_version)!r}, which is no version of CPython 3",
                "Look at /usr/bin/python3 of that host",
            )
        if self.architecture not in ARCHITECTURES:
            raise TunnelError(
                "architecture",
                f"the host says {shown(self.architecture)!r}",
                f"Releases are made for {' and '.join(ARCHITECTURES)}",
            )

    @property
    def python(self) -> str:
        """The version without its patch level: ``3.11``."""
        return ".".join(self.python_version.split(".")[:2])

    @property
    def python_tag(self) -> str:
        """The tag of PEP 425: ``cp311``."""
        return "cp" + self.python.replace(".", "")

    def wheel_tags(self) -> list[str]:
        """The tags of wheels with extension modules that run there (PEP 425)."""
        platforms = (f"{platform}_{self.architecture}" for platform in PLATFORMS)
        return [f"{self.python_tag}-{self.python_tag}-{platform}" for platform in platforms]

    def markers(self) -> dict[str, str]:
        """The environment that markers see on that host (PEP 508)."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.python_version,
            "os_name": "posix",
            "platform_machine": self.architecture,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.python_version,
            "python_version": self.python,
            "sys_platform": "linux",
            "extra": "",
        }


class ProxyRelease:
    """One release, identified by its content before anything is downloaded; an Artifact.

    *source* is the collection's ``proxy_src``, *module_utils* its directory of that name, *locks*
    are the lock files of the libraries beside the proxy's, by their directories in the release, and
    *python* is the controller's own interpreter with pip. *wheel* has the compiled modules; without
    it, the proxy is the pure source.
    """

    is_brought = False
    needs_pip = True

    def __init__(
        self,
        source: Path,
        module_utils: Path,
        locks: Mapping[str, Path],
        target: Target,
        python: str,
        wheel: Wheel | None = None,
    ) -> None:
        self._source = source
        self._of_commands = {
            path.relative_to(module_utils).as_posix(): path
            for path in needed_files(module_utils, *_COMMANDS.values())
        }
        self._target = target
        self._python = python
        self._wheel = wheel
        self._locks = {
            name: locked_requirements(path, target)
            for name, path in {"lib": source / "requirements.txt", **locks}.items()
        }
        self.version = (
            f"{self._package_version()}-{target.python_tag}-{target.architecture}-{self._digest()}"
        )
        self.file_name = f"proxy-{self.version}.tar.gz"
        self.title = f"proxy for Python {target.python} on {target.architecture}"
        self.entry: Mapping[str, str] = {
            "part": "proxy",
            "version": self.version,
            "python": target.python,
            "architecture": target.architecture,
            "build": "compiled" if wheel else "pure",
            **({"wheel_sha256": wheel.sha256} if wheel else {}),
        }

    def archive(self) -> Path:
        """The release as tar.gz. Raises :class:`TunnelError` when a wheel is not available."""
        return cached(self.file_name, self._build)

    def is_cached(self) -> bool:
        """See :class:`places.Artifact`. Raises :class:`TunnelError` if the cache has no place."""
        return is_cached(self.file_name)

    def is_right(self, path: Path) -> bool:
        """Nothing is pinned but its parts, when it is assembled."""
        return True

    def _package(self) -> Path:
        return self._source / "src" / "mcp_proxy"

    def _package_version(self) -> str:
        text = (self._package() / "__init__.py").read_text()
        found = re.search(r'^__version__ = "([0-9a-z.+-]+)"$', text, re.MULTILINE)
        if not found:
            raise TunnelError(
                str(self._package()), "has no __version__", "reinstall the collection"
            )
        return found.group(1)

    def _own_files(self) -> dict[str, Path]:
        """Our own code: its place in the release to its place here."""
        package = self._package()
        own = {
            f"lib/mcp_proxy/{path.relative_to(package).as_posix()}": path
            for path in sorted(package.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
        directory = "command-lib/" + PACKAGE.replace(".", "/")
        commands = sorted(self._of_commands.items())
        return {**own, **{f"{directory}/{name}": path for name, path in commands}}

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for text in (*self._locks.values(), _LAUNCHER, _INTERPRETER, *PLATFORMS):
            digest.update(hashlib.sha256(text.encode()).digest())
        for name, path in self._own_files().items():
            digest.update(name.encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        if self._wheel:
            digest.update(self._wheel.sha256.encode())
        return digest.hexdigest()[:8]

    def _build(self, archive: Path) -> None:
        with scratch_directory(archive.parent) as scratch:
            tree = scratch / "tree"
            for name, lock in self._locks.items():
                requirements = scratch / "requirements.txt"
                requirements.write_text(lock)
                self._install_wheels(tree / name, requirements)
            for name, path in self._own_files().items():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, tree / name)
            if self._wheel:
                self._wheel.unpack(tree / "lib")
            self._write_commands(tree / "bin")
            pack(tree, archive)

    def _install_wheels(self, lib: Path, requirements: Path) -> None:
        target = self._target
        command = [self._python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile"]
        command += ["--implementation", "cp", "--python-version", target.python_version]
        for platform in PLATFORMS:
            command += ["--platform", f"{platform}_{target.architecture}"]
        command += ["--target", str(lib), "--requirement", str(requirements)]
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            check=False,
            env=pip_settings.environment(self._python),
        )
        if done.returncode:
            raise TunnelError(
                f"the proxy's release for {target.python_tag} on {target.architecture}",
                f"pip on the controller failed: {_last_lines(done.stderr or done.stdout)}",
                "Set mcp_tunnel_bundle to a bundle that another controller has assembled; or make "
                "a package index reachable from this one, or point pip to a directory of wheels "
                "with PIP_NO_INDEX=1 and PIP_FIND_LINKS; if pip itself is missing, install it for "
                f"{self._python}",
            )
        # Console scripts carry the path of the controller's interpreter, as do their sums.
        shutil.rmtree(lib / "bin", ignore_errors=True)
        for record in lib.glob("*.dist-info/RECORD"):
            lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = (line for line in lines if not line.startswith("../../bin/"))
            record.write_text("".join(kept), encoding="utf-8")

    def _write_commands(self, bin_directory: Path) -> None:
        root = f"{INSTALL_ROOT}/{self.version}"
        lib, module_lib, command_lib = (
            f"{root}/{name}" for name in ("lib", "module-lib", "command-lib")
        )
        texts = {
            "mcp-proxy": _LAUNCHER.format(path=[lib], module="mcp_proxy.cli"),
            "python3": _INTERPRETER.format(lib=lib, module_lib=module_lib),
            **{
                # One of them asks over HTTP, with the libraries of the modules.
                name: _LAUNCHER.format(
                    path=[lib, command_lib, module_lib], module=f"{PACKAGE}.{module}"
                )
                for name, module in _COMMANDS.items()
            },
        }
        bin_directory.mkdir()
        for name, text in texts.items():
            path = bin_directory / name
            path.write_text(text)
            os.chmod(path, 0o755)  # noqa: S103


def release_for(target: Target, python: str, places: Places | None = None) -> ProxyRelease:
    """This collection's release for *target*, assembled with the interpreter *python* here.

    It is the one in the bundle of *places*, if that has one of this source: pure, or with the
    compiled modules of another controller. Otherwise it is compiled if a wheel here fits.

    :raises TunnelError: if a wheel that fits is not what it was.
    """
    locks = {
        "module-lib": _COLLECTION / "roles/provision/files/requirements.txt",
        "command-lib": _COLLECTION / "roles/proxy/files/requirements.txt",
    }
    source, module_utils = _COLLECTION / "proxy_src", _COLLECTION / "plugins/module_utils"
    own = wheel_for(source, target.wheel_tags())
    brought = places.wheels(target.python, target.architecture) if places else []
    first, *others = (
        ProxyRelease(source, module_utils, locks, target, python, wheel)
        for wheel in dict.fromkeys([own, *map(Wheel, brought), None])
    )
    there = (each for each in (first, *others) if places and places.in_bundle(each))
    return next(there, first)


def locked_requirements(path: Path, target: Target) -> str:
    """The lines of the lock file *path* that apply to *target*, without their markers.

    pip evaluates markers for the interpreter that runs it, not for ``--python-version``, so they
    are evaluated here.
    """
    # Every controller has it, as a dependency of ansible-core; documentation builds do not.
    from packaging.requirements import Requirement

    kept = []
    for logical in re.sub(r"\\\n\s*", " ", path.read_text()).splitlines():
        line = logical.strip()
        if not line or line.startswith("#"):
            continue
        text, *hashes = (part.strip() for part in line.split(" --hash="))
        requirement = Requirement(text)
        if not hashes:
            raise TunnelError(f"{path}: {requirement.name}", "has no hash", "renew the lock file")
        if requirement.marker is None or requirement.marker.evaluate(target.markers()):
            requirement.marker = None
            kept.append(" ".join([str(requirement), *(f"--hash={item}" for item in hashes)]))
    return "\n".join(kept) + "\n"


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "no output"
