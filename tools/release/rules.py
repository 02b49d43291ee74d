"""The rules against a release: all objections are found together, before anything is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from stages.changelog import FIRST

from . import places
from .refused import Refused
from .repository import Repository
from .version import Version


def judge(repository: Repository, version: Version) -> None:
    """See whether this version can be released from this checkout.

    :raises Refused: with all problems.
    """
    problems = [
        *_of_the_tree(repository),
        *_of_the_version(repository, version),
        *_of_the_fragments(repository.root / "changelogs"),
    ]
    if problems:
        raise Refused(*problems)


def _of_the_tree(repository: Repository) -> list[str]:
    problems = []
    if changed := repository.changed():
        listed = ", ".join(changed[:5]) + (", …" if len(changed) > 5 else "")
        problems.append(f"working tree: not committed: {listed}. Commit, stash or remove it.")
    if not repository.branch():
        problems.append("HEAD: no branch is checked out. Check out the one to release from.")
    return problems


def _of_the_version(repository: Repository, version: Version) -> list[str]:
    problems = []
    if version.tag in repository.tags():
        problems.append(f"tag {version.tag}: exists. A released version stays as it is.")
    released = _released(repository)
    if released and version <= max(released):
        problems.append(f"VERSION: {version} is not newer than the released {max(released)}.")
    stated = places.read(repository.root)
    if version < stated:
        problems.append(f"VERSION: {version} is older than {stated}, which galaxy.yml states.")
    return problems


def _released(repository: Repository) -> list[Version]:
    changelog = _read(repository.root / "changelogs/changelog.yaml")
    found = []
    for name in [*changelog["releases"], *(tag.removeprefix("v") for tag in repository.tags())]:
        try:
            found.append(Version.parse(name))
        except Refused:
            continue  # a tag of another kind
    return found


def _of_the_fragments(changelogs: Path) -> list[str]:
    """The sections of all fragments, as the changelog will take them."""
    fragments = [_read(path) for path in sorted((changelogs / "fragments").glob("*.y*ml"))]
    sections = [name for fragment in fragments for name in fragment]
    first = not _read(changelogs / "changelog.yaml")["releases"]
    told = [name for name in sections if name not in ("release_summary", "trivial")]
    if first:
        told = [name for name in told if name in FIRST]
    problems = []
    if not told:
        problems.append("changelogs/fragments: no fragment says what has changed. Write one.")
    if (summaries := sections.count("release_summary")) != 1:
        problems.append(
            f"changelogs/fragments: {summaries} fragments have a release_summary. Write one, of "
            "two or three sentences that say what the release is for."
        )
    return problems


def _read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
