"""Gathers what an image is made of: the collection's archive, the wheels and the bundle."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from .refused import Refused

ROOT = Path(__file__).resolve().parents[2]
_COLLECTION = "mcp_tunnels.stack"
_LOCK = ROOT / "execution-environment/requirements.txt"
#: Of Debian 12. Wheels for the architecture of this machine.
PYTHON = "3.11"
_SUM = re.compile(r"([0-9a-f]{64}) [ *]([^/\n]+)")


def version() -> str:
    """The version of this checkout's collection."""
    return str(yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"])


def gather(directory: Path, bundle: Path, python: str = PYTHON) -> None:
    """Makes *directory* anew, with everything that an image for that Python needs.

    :raises Refused: if the bundle does not fit, or a program fails.
    """
    check_bundle(bundle)
    _collection(_emptied(directory / "collection"))
    _wheels(directory / "wheels", python)
    target = directory / "bundle"
    if bundle != target.resolve():  # else it is the copy of an earlier call
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(bundle, target)
    for path in (target, *target.iterdir()):  # readable for every user, writable for root alone
        path.chmod(0o755 if path.is_dir() else 0o644)


def check_bundle(bundle: Path) -> None:
    """Compares a bundle with its sums and with the version of this checkout.

    :raises Refused: for the first difference.
    """
    remedy = f"Assemble it anew with this version: see docs/air-gapped.md of {_COLLECTION}"
    try:
        lines = (bundle / "SHA256SUMS").read_text().splitlines()
        manifest = json.loads((bundle / "manifest.json").read_text())
        maker = manifest["collection"]["version"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Refused(f"the bundle {bundle}", f"cannot be read: {error}", remedy) from None
    if maker != version():
        problem = f"was assembled by version {maker} of {_COLLECTION}, and this is {version()}"
        raise Refused(f"the bundle {bundle}", problem, remedy)
    sums = {match[2]: match[1] for line in lines if (match := _SUM.fullmatch(line))}
    for path in sorted(bundle.iterdir()):
        if path.name == "SHA256SUMS":
            continue
        if not path.is_file() or path.is_symlink():
            raise Refused(str(path), "is not a plain file", remedy)
        if sums.pop(path.name, None) != hashlib.sha256(path.read_bytes()).hexdigest():
            raise Refused(str(path), "does not have the sum that SHA256SUMS names", remedy)
    if sums:
        raise Refused(f"the bundle {bundle}", f"has no {' and no '.join(sums)}", remedy)


def _collection(directory: Path) -> None:
    """Builds it of the files that git knows: others could be an operator's inventory or vault."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        problem = "git cannot list the files of the collection"
        raise Refused(str(ROOT), problem, "Use a checkout", listed.stderr.decode())
    with tempfile.TemporaryDirectory() as scratch:
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                target = Path(scratch, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)
        command = ["ansible-galaxy", "collection", "build", scratch, "--output-path", "."]
        _program("the collection", command, directory)
    (built,) = directory.glob("*.tar.gz")
    built.rename(directory / "mcp_tunnels-stack.tar.gz")


def _wheels(directory: Path, python: str) -> None:
    """Downloads the locked wheels; pip compares each with its hash."""
    stamp = directory.with_suffix(".stamp")
    wanted = hashlib.sha256(_LOCK.read_bytes() + python.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    platforms = [f"--platform={kind}_{_machine()}" for kind in ("manylinux_2_28", "manylinux2014")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += [
        "--require-hashes",
        "--no-deps",
        "--only-binary=:all:",
        f"--python-version={python}",
    ]
    command += ["--implementation=cp", *platforms, "--requirement", str(_LOCK), "--dest", "."]
    _program("the wheels", command, _emptied(directory))
    stamp.write_text(wanted)


def _machine() -> str:
    return subprocess.run(
        ["uname", "-m"], capture_output=True, text=True, check=True
    ).stdout.strip()


def _emptied(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def _program(subject: str, command: Sequence[str], directory: Path) -> None:
    """Run in the checkout; its output goes to the directory."""
    at = [word if word != "." else str(directory) for word in command]
    done = subprocess.run(at, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        problem = f"{' '.join(command[:4])} has failed with exit status {done.returncode}"
        raise Refused(subject, problem, "See its output above", done.stdout + done.stderr)
