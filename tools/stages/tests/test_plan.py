"""``make test-all`` runs what ``make test`` leaves out."""

from __future__ import annotations

import subprocess
from pathlib import Path

from stages import plan
from stages.stage import Stage

ROOT = Path(__file__).resolve().parents[3]


def collected(stages: tuple[Stage, ...], root: Path) -> list[str]:
    """The tests that the laboratory's stage would run, of a folder with the project's settings."""
    stage = next(stage for stage in stages if stage.name == "laboratory tests")
    begin = stage.command[: stage.command.index("pytest")]
    done = subprocess.run(
        [*begin, "pytest", "-q", "--collect-only", "--strict-markers", "tests"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if "::" in line]


TESTS = """
import pytest
@pytest.mark.parametrize("n", ["one", pytest.param("every", marks=pytest.mark.exhaustive)])
def test_kind(n): pass
@pytest.mark.exhaustive
def test_again(): pass
"""


def test_what_is_exhaustive_is_for_test_all(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_it.py").write_text(TESTS)
    few, all_of_them = (collected(stages, tmp_path) for stages in (plan.TEST, plan.ALL))
    assert few == ["tests/test_it.py::test_kind[one]"]
    assert all_of_them == [
        *few,
        "tests/test_it.py::test_kind[every]",
        "tests/test_it.py::test_again",
    ]


def test_every_marked_test_belongs_to_a_stage_that_runs_it() -> None:
    """No other stage would ever run it."""
    marked = [
        str(path.relative_to(ROOT))
        for top in ("molecule", "tests", "lab", "benchmarks", "proxy_src/tests")
        for path in (ROOT / top).rglob("test_*.py")
        if "mark.exhaustive" in path.read_text()
    ]
    assert marked
    run = (
        *("molecule/", "lab/", "tests/unit/", "tests/contract/", "tests/cores/", "tests/machines/"),
        *("tests/systems/", "tests/arm64/"),
        *("proxy_src/tests/overload/", "proxy_src/tests/conformance/"),
    )
    assert [path for path in marked if not path.startswith(run)] == []
    given = {stage.name: stage.command for stage in plan.ALL}
    stages = (
        "unit tests",
        "laboratory tests",
        "contract tests",
        "conformance explored",
        "overload",
    )
    for name in stages:
        assert "exhaustive or not exhaustive" in " ".join(given[name]), name
    for name, folder in (("virtual machines", "machines"), ("other systems", "systems")):
        assert given[name][:2] == ("tools/machines", f"tests/{folder}")
    assert given["ARM machine"][0] == "tools/arm64"


def test_ansible_test_runs_all_unit_tests_in_test_all() -> None:
    """``make test`` runs all of them, too, but most by pytest alone."""
    few, everything = (
        next(stage.command for stage in stages if stage.name == "sanity and unit tests")
        for stages in (plan.TEST, plan.ALL)
    )
    assert "UNITS=all" not in few
    assert "UNITS=all" in everything
    assert "unit tests" in {stage.name for stage in plan.TEST}
    assert '"${UNITS:-}" = all' in (ROOT / "tools/sanity").read_text()
