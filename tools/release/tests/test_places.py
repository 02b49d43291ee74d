"""The places of the version: all are known and set together, and nothing else states it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from release import places
from release.refused import Refused
from release.version import Version

ROOT = Path(__file__).resolve().parents[3]
#: Lines that name a version but not this tree's: the version that added something, and examples.
OTHER = (
    re.compile(r"version_added: "),
    re.compile(r"\d+\.\d+\.\d+-cp3\d+-"),  # the name of a release on a host
)
#: Files that speak of other versions: of the past, or of other projects.
ELSEWHERE = re.compile(
    r"CHANGELOG\.md|changelogs/|.*requirements[^/]*\.txt$|.*package(-lock)?\.json$|"
    r"tools/(release|stages)/tests/"
)


def tracked() -> dict[str, str]:
    """Text of every file of the repository that may state its version."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = {}
    for name in filter(None, listed.stdout.split("\0")):
        if ELSEWHERE.match(name) or not (ROOT / name).is_file():
            continue
        content = (ROOT / name).read_bytes()
        if b"\0" not in content:
            found[name] = content.decode(errors="replace")
    return found


def test_all_places_state_one_version() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    assert str(places.read(ROOT)) == galaxy["version"]


def test_no_other_file_states_the_version() -> None:
    stated = re.compile(rf"(?<![\d.]){re.escape(str(places.read(ROOT)))}(?![\d.]*\d)")
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in tracked().items()
        for number, line in enumerate(text.splitlines(), 1)
        if stated.search(line) and not any(other.search(line) for other in OTHER)
    ]
    assert len(found) == len(places.PLACES), "\n".join(found)
    assert {entry.split(":")[0] for entry in found} == places.PLACES.keys()


def test_no_other_file_assigns_a_version_of_its_own() -> None:
    assigned = re.compile(r"""^(?:__version__|version)\s*[:=]\s*["']?(\d+\.\d[^"'\s]*)""", re.M)
    found = {name for name, text in tracked().items() if assigned.search(text)}
    assert found == places.PLACES.keys()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that state the version, by themselves."""
    for path in places.PLACES:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    return tmp_path


def test_the_setter_changes_the_version_and_nothing_else(copy: Path) -> None:
    before = {path: (copy / path).read_text() for path in places.PLACES}
    old = str(places.read(copy))
    places.write(copy, Version(12, 0, 34))
    for path, text in before.items():
        after = (copy / path).read_text().splitlines()
        changed = [
            (was, now) for was, now in zip(text.splitlines(), after, strict=True) if was != now
        ]
        assert [(was.replace(old, "12.0.34"), now) for was, now in changed] == [
            (changed[0][1], changed[0][1])
        ]


def test_places_that_differ_are_refused(copy: Path) -> None:
    galaxy = copy / "galaxy.yml"
    galaxy.write_text(re.sub(r"(?m)^version: .*$", "version: 7.7.7", galaxy.read_text()))
    with pytest.raises(Refused, match=r"galaxy\.yml states 7\.7\.7"):
        places.write(copy, Version(8, 0, 0))
    assert "version: 7.7.7" in galaxy.read_text()


@pytest.mark.parametrize("line", ["", "version: 1.0.0\nversion: 1.0.0\n"])
def test_a_place_without_one_clear_line_is_refused(copy: Path, line: str) -> None:
    galaxy = copy / "galaxy.yml"
    galaxy.write_text(re.sub(r"(?m)^version: .*\n", line, galaxy.read_text()))
    with pytest.raises(Refused, match=r"galaxy\.yml: \d lines state the version"):
        places.read(copy)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.2",
        "v1.2.3",
        "1.2.3-rc1",
        "01.2.3",
        "1.2.3.4",
        "1.2.3\n",
        "1.2.3 ",
        "1\u0661.2.3",
    ],
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is no version"):
        Version.parse(text)


def test_versions_sort_by_number() -> None:
    assert Version.parse("0.10.0") > Version.parse("0.9.12")
    assert str(Version.parse("10.0.2")) == "10.0.2"
