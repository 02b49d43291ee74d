"""The published parts: the changelog, the pages, and the findings of Galaxy's importer."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import Any

import yaml

from stages import changelog, importer

ROOT = Path(__file__).resolve().parents[3]
FRAGMENTS = {
    "first.yml": {"release_summary": "What it is.", "major_changes": ["a thing"]},
    "mixed.yml": {"major_changes": ["another"], "bugfixes": ["mended"], "minor_changes": ["x"]},
    "fixes.yml": {"bugfixes": ["mended"], "security_fixes": ["closed"], "breaking_changes": ["y"]},
}


def made(directory: Path, releases: dict[str, Any]) -> dict[str, Any]:
    """The fragments that are left before a release that follows *releases*."""
    (directory / "fragments").mkdir()
    (directory / "changelog.yaml").write_text(yaml.safe_dump({"releases": releases}))
    for name, content in FRAGMENTS.items():
        (directory / "fragments" / name).write_text(yaml.safe_dump(content))
    changelog.keep_what_is_new(directory)
    left = sorted((directory / "fragments").iterdir())
    return {path.name: yaml.safe_load(path.read_text()) for path in left}


def test_the_first_release_lists_no_repairs_of_what_nobody_had(tmp_path: Path) -> None:
    assert made(tmp_path, {}) == {
        "first.yml": FRAGMENTS["first.yml"],
        "mixed.yml": {"major_changes": ["another"]},
    }


def test_a_later_release_lists_everything(tmp_path: Path) -> None:
    assert made(tmp_path, {"0.1.0": {}}) == FRAGMENTS


def test_warnings_of_the_importer_are_findings() -> None:
    output = (
        "Loading role proxy\nWARNING: no metadata\nplugins/x.py\nERROR: The import failed\n"
        "Traceback (most recent call last):\nImporter processing completed successfully\n"
    )
    assert importer.findings(output) == [
        "WARNING: no metadata",
        "ERROR: The import failed",
        "Traceback (most recent call last):",
    ]
    assert importer.findings("Loading module WARNING\nan ERROR\n") == []


def shipped(path: str) -> bool:
    """Whether a file of the repository is part of the collection's archive."""
    ignored = yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"]
    names = [path, *map(str, Path(path).parents)]
    return not any(fnmatch.fnmatch(name, pattern) for name in names for pattern in ignored)


def test_pages_about_developing_are_not_shipped() -> None:
    for page in ("laboratory", "benchmarks", "releasing", "testing"):
        assert (ROOT / f"docs/{page}.md").is_file()
        assert not shipped(f"docs/{page}.md")
    assert shipped("docs/variables.md")


def anchors(page: Path) -> set[str]:
    """The anchors that a forge gives to the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_shipped_pages_lead_to_shipped_files_only() -> None:
    found = 0
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("roles/*/README.md")]
    for page in pages:
        if page.name == "CHANGELOG.md":
            continue  # generated; its anchors are its own
        for link in re.findall(r"\]\(([^)\s]+)", page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = link.partition("#")
            path = (page.parent / target).resolve() if target else page
            assert path.exists(), (page, link)
            if shipped(str(page.relative_to(ROOT))):
                assert shipped(str(path.relative_to(ROOT))), (page, link)
            if anchor:
                assert anchor in anchors(path), (page, link)
            found += 1
    assert found
