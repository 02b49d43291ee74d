"""Runs mypyc for one Python, in a copy of the source."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.cores import interpreters

from .modules import compiled

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "proxy_src/src"
#: Hosts may have Python 3.9, but mypyc runs on none before 3.10: they get the source.
PYTHONS = tuple(f"3.{minor}" for minor in range(10, 16))
_UV = ROOT / ".build/uv/bin/uv"
#: mypyc, and the libraries whose types it reads.
_LOCKS = (ROOT / "tools/wheels-requirements.txt", ROOT / "proxy_src/requirements.txt")
_GROUP = "mcp_proxy"
_SETUP = """\
import sys
from mypyc.build import mypycify
from setuptools import setup

extensions = mypycify(
    ["--strict", "--python-executable", sys.executable, *sys.argv[2:]],
    opt_level="3",
    debug_level="0",
    group_name={group!r},
)
setup(
    name={group!r},
    packages=[],
    py_modules=[],
    ext_modules=extensions,
    script_args=["--quiet", "build_ext", "--build-lib", sys.argv[1]],
)
"""
_IMPORT = """\
import importlib
import sys
for name in sys.argv[1:]:
    path = importlib.import_module(name).__file__
    if not path.endswith(".so"):
        sys.exit(f"{name}: is {path}, so its compiled module is not taken")
"""
_HEADERS = "import sysconfig; print(sysconfig.get_path('include'))"


class Refused(Exception):
    """Something is wrong with the source or with this machine; says which, and what to do."""


def found() -> dict[str, Path]:
    """Each version of Python that this machine has with its headers, like ``3.11``."""
    pythons = ((version, python) for version in PYTHONS for python in interpreters(version))
    usable: dict[str, Path] = {}
    for version, python in pythons:
        if version not in usable and has_headers(python):
            usable[version] = python
    return usable


def has_headers(python: Path) -> bool:
    """Whether extension modules can be compiled for an interpreter."""
    done = subprocess.run([python, "-c", _HEADERS], capture_output=True, text=True, check=True)
    return (Path(done.stdout.strip()) / "Python.h").is_file()


def digest(python: Path) -> str:
    """Changes with anything that the modules for *python* are made of."""
    parts = hashlib.sha256(str(python).encode())
    inputs = (*_LOCKS, *Path(__file__).parent.glob("*.py"), *SOURCE.rglob("*.py"))
    for path in sorted(inputs):
        parts.update(str(path.relative_to(ROOT)).encode() + b"\0")
        parts.update(path.read_bytes())
    return parts.hexdigest()


def compile_for(python: Path, scratch: Path) -> tuple[Path, Path]:
    """Two directories in *scratch*: a copy of the source with its extension modules for *python*
    beside it, all of which can be imported there; and these modules alone.

    A wheel is named after that copy, not after the source, which may change meanwhile.

    :raises Refused: if there is no C compiler, or mypyc or that one fails, or an import.
    """
    if not shutil.which("gcc"):
        raise Refused("gcc: is not installed; run tools/bootstrap --compiler, or install it")
    environment = _environment(python)
    source, made = scratch / "source", scratch / "made"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    modules = [f"mcp_proxy/{path}" for path in compiled(source / "mcp_proxy")]
    (scratch / "setup.py").write_text(_SETUP.format(group=_GROUP))
    # Without symbols, and without paths, times and the processor of this machine.
    baseline = ["-march=x86-64"] if platform.machine() == "x86_64" else []
    settings = {
        "CFLAGS": " ".join([f"-ffile-prefix-map={scratch}=.", *baseline]),
        "LDFLAGS": "-s",
        "SOURCE_DATE_EPOCH": "0",
        "PYTHONHASHSEED": "0",
    }
    _run(
        f"mypyc for {python}",
        [str(environment / "bin/python"), str(scratch / "setup.py"), str(made), *modules],
        source,
        {**os.environ, **settings, "PYTHONPATH": "", "MYPYPATH": str(source)},
    )
    whole = scratch / "whole"
    shutil.copytree(source / "mcp_proxy", whole / "mcp_proxy")
    shutil.copytree(made, whole, dirs_exist_ok=True)
    names = [module.removesuffix(".py").replace("/", ".") for module in modules]
    _run(
        f"the import of what was compiled for {python}",
        [str(environment / "bin/python"), "-c", _IMPORT, *names],
        whole,
        {**os.environ, "PYTHONPATH": str(whole)},
    )
    return whole, made


def _environment(python: Path) -> Path:
    """A virtual environment with mypyc, in .build; made unless it is there."""
    parts = hashlib.sha256(str(python).encode())
    for lock in _LOCKS:
        parts.update(lock.read_bytes())
    made = ROOT / ".build/mypyc" / parts.hexdigest()[:16]
    stamp = made / "whole"
    if not stamp.exists():
        subject = f"the environment {made}"
        uv = [str(_UV), "--quiet"]
        _run(
            subject,
            [*uv, "venv", "--clear", "--no-python-downloads", "--python", str(python), str(made)],
        )
        locks = [word for lock in _LOCKS for word in ("-r", str(lock))]
        install = [*uv, "pip", "install", "--python", str(made / "bin/python"), "--no-deps"]
        _run(subject, [*install, "--require-hashes", *locks])
        stamp.touch()
    return made


def _run(
    subject: str,
    command: Sequence[str],
    directory: Path = ROOT,
    variables: dict[str, str] | None = None,
) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise Refused(f"{subject}: exit status {done.returncode}; the lines before say why")
