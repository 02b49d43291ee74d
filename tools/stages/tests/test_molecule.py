"""Which program runs the steps of molecule: Ansible's own, or the one that keeps packed modules."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
OWN = ROOT / ".venv/bin/ansible-playbook"
KEPT = ROOT / "tests/unit/plugins/support/kept_playbook.py"


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        ("--skip-tags molecule-notest,notest", OWN),
        ("--check --skip-tags molecule-notest,notest", KEPT),
        ("--skip-tags molecule-notest,notest,molecule-idempotence-notest", KEPT),
        ("--check", OWN),  # a job of AWX in a test
    ],
)
def test_runs_that_only_compare_keep_packed_modules(arguments: str, program: Path) -> None:
    place = ROOT / "molecule/shared/bin"
    path = f"{place}:{os.environ['PATH']}"
    done = subprocess.run(
        ["ansible-playbook", *arguments.split(), "--version"],
        cwd=place,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    (line,) = (line for line in done.stdout.splitlines() if "executable location" in line)
    assert Path(line.rpartition(" = ")[2]).resolve() == program.resolve()


def test_molecule_finds_it_first() -> None:
    script = (ROOT / "tools/molecule").read_text()
    assert "PATH=$PWD/molecule/shared/bin:$PATH\nmolecule test" in script
