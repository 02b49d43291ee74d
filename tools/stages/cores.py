"""The versions of ansible-core that a controller may have, and environments with each of them.

``python -m stages.cores`` prints how long each playbook took with each version, as the reports of
their stages have it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
#: Version -> the Pythons that it runs on as a controller, according to Ansible's support matrix
#: (https://docs.ansible.com/ansible/latest/reference_appendices/release_and_maintenance.html).
PYTHONS: dict[str, tuple[str, ...]] = {
    "2.16": ("3.10", "3.11", "3.12"),
    "2.17": ("3.10", "3.11", "3.12"),
    "2.18": ("3.11", "3.12", "3.13"),
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.12", "3.13", "3.14"),
    "2.22": ("3.13", "3.14", "3.15"),
}
#: Where reports of the stages are; with the version in place of the asterisk.
REPORTS = ".build/reports/ansible-core-*.xml"
_UV = ROOT / ".build/uv/bin/uv"
#: What a controller needs, pinned: the libraries of hosts support Python 3.9 and later.
_OF_RUNS = ("roles/provision/files/requirements.txt", "proxy_src/requirements.txt")
#: With everything that tests need, for Python 3.11 and later.
_OF_TESTS = ("requirements-dev.txt",)
_PLACES = (
    f"{os.environ.get('PYENV_ROOT', Path.home() / '.pyenv')}/versions/VERSION.*/bin/pythonVERSION",
    "/opt/hostedtoolcache/Python/VERSION.*/*/bin/pythonVERSION",  # runners of GitHub
)


def interpreter(core: str, least: str = "3.10") -> Path | None:
    """The oldest Python of this machine that a version of ansible-core runs on, or None.

    :param least: an older one than this does not count, like ``3.11``.
    """
    allowed = [each for each in PYTHONS[core] if _number(each) >= _number(least)]
    return next((found for version in allowed for found in interpreters(version)), None)


def here() -> list[str]:
    """The versions that this machine has a Python for, the oldest first."""
    return [core for core in PYTHONS if interpreter(core)]


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def interpreters(version: str) -> Iterator[Path]:
    """Each Python of a version that runs: pyenv's shims exist also for those that do not."""
    candidates = [shutil.which(f"python{version}") or ""]
    for place in _PLACES:
        pattern = place.replace("VERSION", version).removeprefix("/")
        candidates += sorted(map(str, Path("/").glob(pattern)))
    for candidate in filter(None, candidates):
        if not subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode:
            yield Path(candidate)


def environment(core: str, for_tests: bool = False) -> Path:
    """A virtual environment with a version of ansible-core, in .build; made unless it is there.

    :param for_tests: with pytest and all that unit tests import, on Python 3.11 or later.
    :raises LookupError: if this machine has no Python for it.
    :raises subprocess.CalledProcessError: if uv cannot make it.
    """
    python = interpreter(core, "3.11" if for_tests else "3.10")
    if python is None:
        some = " or ".join(PYTHONS[core])
        raise LookupError(f"ansible-core {core}: runs on Python {some}; this machine has none")
    locks = [_OF_TESTS if for_tests else _OF_RUNS, ("tools/cores/shared.txt", _lock(core))]
    digest = hashlib.sha256(str(python).encode())
    for path in [path for lock in locks for path in lock]:
        digest.update((ROOT / path).read_bytes())
    made = ROOT / ".build/cores" / (f"{core}-tests" if for_tests else core)
    stamp = made / "made-of"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return made
    _run("venv", "--clear", "--no-python-downloads", "--python", str(python), str(made))
    for lock in locks:
        words = [word for path in lock for word in ("-r", path)]
        pip = ("pip", "install", "--python", f"{made}/bin/python", "--no-deps", "--require-hashes")
        _run(*pip, *words)
    _run("pip", "check", "--python", f"{made}/bin/python")
    stamp.write_text(digest.hexdigest())
    return made


def _lock(core: str) -> str:
    return f"tools/cores/{core}.txt"


def _run(*arguments: str) -> None:
    subprocess.run([str(_UV), "--quiet", *arguments], cwd=ROOT, check=True)


def times(reports: Sequence[Path]) -> str:
    """A table: for each playbook that a stage ran, its seconds with each version.

    The reports are JUnit XML of tests/cores; a test that failed has a mark.
    """
    columns: dict[str, dict[str, str]] = {}
    for path in sorted(reports):
        column = columns.setdefault(path.stem.rpartition("-")[2], {})
        for case in ElementTree.parse(path).iter("testcase"):
            if case.find("skipped") is None and (verb := _verb(case.get("name", ""))):
                bad = "" if case.find("failure") is None and case.find("error") is None else "!"
                column[verb] = f"{float(case.get('time', 0)):.0f}{bad}"
    verbs = list(dict.fromkeys(verb for column in columns.values() for verb in column))
    head = f"{'seconds':<32}" + "".join(f"{core:>7}" for core in columns)
    rows = [
        f"{verb:<32}" + "".join(f"{column.get(verb, '-'):>7}" for column in columns.values())
        for verb in verbs
    ]
    return "\n".join([head, *rows])


def _verb(test: str) -> str:
    """The playbook in the name of a test, like ``test_run[rotate_ca]``; empty if it has none."""
    return test.partition("[")[2].rstrip("]")


def main() -> int:
    """See the module; with ``--tests VERSION``, make the environment, and print where it is."""
    if sys.argv[1:2] == ["--tests"]:
        try:
            print(environment(sys.argv[2], for_tests=True))
        except LookupError as error:
            sys.exit(str(error))
    else:
        print(times(list(ROOT.glob(REPORTS))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
