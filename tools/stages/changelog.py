"""Makes the changelog of a release of the fragments: ``python -m stages.changelog``.

The first release has no predecessor. No user had the things that its fragments repair, limit or
rename, so its changelog lists only its contents.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
#: Sections of fragments that describe a release without reference to an earlier one.
FIRST = ("release_summary", "major_changes", "known_issues")


def keep_what_is_new(changelogs: Path) -> None:
    """Before the first release, remove the sections of fragments that refer to an earlier one."""
    if yaml.safe_load((changelogs / "changelog.yaml").read_text(encoding="utf-8"))["releases"]:
        return
    for path in sorted((changelogs / "fragments").glob("*.y*ml")):
        fragment = yaml.safe_load(path.read_text(encoding="utf-8"))
        kept = {name: fragment[name] for name in FIRST if name in fragment}
        if not kept:
            path.unlink()
        elif kept != fragment:
            path.write_text(yaml.safe_dump(kept, explicit_start=True), encoding="utf-8")


def main() -> int:
    """Make the changelog of the version that galaxy.yml names."""
    keep_what_is_new(ROOT / "changelogs")
    return subprocess.run(["antsibull-changelog", "release"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
