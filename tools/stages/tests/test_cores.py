"""The versions of ansible-core: those that are promised, their Pythons, and the table of times."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from stages import cores, plan

ROOT = Path(__file__).resolve().parents[3]
REPORT = """<testsuites><testsuite>
<testcase name="test_the_environment" time="9"/>
<testcase name="test_site[site]" time="30.6"/>
<testcase name="test_a_duty[verify]" time="{verify}">{outcome}</testcase>
</testsuite></testsuites>"""


def test_the_oldest_is_the_one_that_is_promised() -> None:
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())
    assert runtime["requires_ansible"] == f">={next(iter(cores.PYTHONS))}.0"
    numbers = [int(core.partition(".")[2]) for core in cores.PYTHONS]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_each_has_a_lock_with_hashes_and_a_deployment() -> None:
    for core in cores.PYTHONS:
        text = (ROOT / f"tools/cores/{core}.txt").read_text()
        assert re.match(rf"ansible-core=={core}\.[0-9rcb]+ \\\n    --hash=sha256:", text)
    names = {stage.name for stage in plan.CORES}
    assert names >= {
        f"{what} {core}" for what in ("ansible-core", "unit tests") for core in cores.PYTHONS
    }


def test_a_python_that_does_not_run_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyenv has such files for each Python that some other version of it has."""
    for name, text in (("python3.10", "exit 127"), ("python3.11", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cores, "_PLACES", ())
    assert cores.interpreter("2.16") == tmp_path / "python3.11"
    assert cores.interpreter("2.16", "3.12") is None
    assert cores.here() == ["2.16", "2.17", "2.18", "2.19"]
    with pytest.raises(
        LookupError, match=r"2\.22: runs on Python 3\.13 or .*this machine has none"
    ):
        cores.environment("2.22")


def test_the_times_of_each_version_stand_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "ansible-core-2.16.xml").write_text(REPORT.format(verify="4.4", outcome=""))
    (tmp_path / "ansible-core-2.22.xml").write_text(REPORT.format(verify="8", outcome="<failure/>"))
    (tmp_path / "ansible-core-2.20.xml").write_text(REPORT.format(verify="0", outcome="<skipped/>"))
    lines = [line.split() for line in cores.times(list(tmp_path.iterdir())).splitlines()]
    assert lines == [
        ["seconds", "2.16", "2.20", "2.22"],
        ["site", "31", "31", "31"],
        ["verify", "4", "-", "8!"],
    ]
