"""Packs extension modules as a wheel with an honest tag."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import zipfile
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import compiled

from .compiler import Refused

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time in a zip archive
_MODULE = re.compile(r"(.+)\.cpython-3([0-9]+)-([a-z0-9_]+)-linux-gnu\.so")
_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
_NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
_GLIBC = re.compile(r"Name: GLIBC_([0-9]+)\.([0-9]+)")
_GLIBC_ABI = re.compile(r"Name: (GLIBC_ABI_\w+)")
#: All of them belong to glibc.
_LIBRARIES = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"}
#: Of what hosts have at least (PEP 600); a wheel that needs a later one says so, and is not taken.
_USUAL = ((2, 17), (2, 28))


def pack(made: Path, package: Path, into: Path) -> Path:
    """Write the wheel of the extension modules in *made*, compiled from *package*; return its path.

    :raises Refused: if they need a library that not every host has.
    """
    files = sorted(path for path in made.rglob("*.so") if path.is_file())
    matches = [_MODULE.fullmatch(path.name) for path in files]
    tags = {(match[2], match[3]) for match in matches if match}
    if len(tags) != 1 or None in matches:
        raise Refused(f"{made}: is not full of modules for one CPython: {[*map(str, files)]}")
    ((minor, architecture),) = tags
    python = f"cp3{minor}"
    tag = f"{python}-{python}-{platform(files)}_{architecture}"
    found = _VERSION.search((package / "__init__.py").read_text())
    assert found
    version = f"{found[1]}+{compiled.source_digest(package)}"
    info = f"{compiled.NAME}-{version}.dist-info"
    contents = {path.relative_to(made).as_posix(): path.read_bytes() for path in files}
    contents[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.4\nName: {compiled.NAME}\nVersion: {version}\n"
        "License-Expression: GPL-3.0-or-later\n"
    ).encode()
    contents[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: mcp_tunnels.stack\nRoot-Is-Purelib: false\nTag: {tag}\n"
    ).encode()
    record = "".join(f"{name},{_sum(data)},{len(data)}\n" for name, data in contents.items())
    contents[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = into / f"{compiled.NAME}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            member = zipfile.ZipInfo(name, _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, data)
    return path


def platform(files: list[Path]) -> str:
    """The platform that ELF files need, without its architecture, like ``manylinux_2_17``.

    :raises Refused: if they need a library beside glibc.
    """
    done = subprocess.run(
        ["readelf", "--dynamic", "--version-info", "--wide", *files],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )
    strangers = {*_NEEDED.findall(done.stdout)} - _LIBRARIES
    strangers = {name for name in strangers if not name.startswith("ld-linux")}
    if strangers:
        raise Refused(f"{', '.join(sorted(strangers))}: is needed, and not every host has it")
    if found := _GLIBC_ABI.search(done.stdout):
        raise Refused(f"{found[1]}: is needed of glibc, and no tag of a wheel says so")
    needed = max(((int(a), int(b)) for a, b in _GLIBC.findall(done.stdout)), default=_USUAL[0])
    major, minor = next((usual for usual in _USUAL if usual >= needed), needed)
    return f"manylinux_{major}_{minor}"


def of_other_architectures(directory: Path, made: Path) -> list[Path]:
    """The wheels in *directory* of the same source as the wheel *made*, for other machines."""
    version, architecture = made.name.split("-")[1], _architecture(made)
    found = sorted(directory.glob(f"{compiled.NAME}-{version}-*.whl"))
    return [path for path in found if _architecture(path) != architecture]


def _architecture(path: Path) -> str:
    match = re.search(r"manylinux_[0-9]+_[0-9]+_(\w+)\.whl$", path.name)
    return match[1] if match else ""


def write_sums(directory: Path) -> None:
    """Write the sums of the wheels in *directory*, as sha256sum(1) does."""
    wheels = sorted(directory.glob("*.whl"))
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in wheels)
    (directory / compiled.SUMS).write_text("".join(lines))


def _sum(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest}"
