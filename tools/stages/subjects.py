"""Judges the subjects of commits: ``part: imperative``, at most 72 characters.

``python -m stages.subjects FILE`` for a message that is being written (git's hook ``commit-msg``),
``python -m stages.subjects --since BASE`` for the commits that BASE does not have.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: Programs that show logs cut off more.
LONGEST = 72
#: One part or several (two words each at most) in small letters; then a sentence without a point.
_PART = r"[a-z0-9_][a-z0-9_./-]*(?: [a-z0-9_./-]+)?"
_FORM = re.compile(rf"{_PART}(?:, {_PART})*: (?P<does>\S.*)")
#: No verb in the imperative begins like this.
_NO_VERB = re.compile(
    r"(?:a|an|the|this|that|these|those|no|some|all|one|two|three|it|we|i|its|our)\b|"
    r"\w+ing\b(?<!\bbring)(?<!\bring)(?<!\bstring)|"
    r"(?:added|changed|fixed|made|mended|moved|removed|renamed|updated)\b|"
    r"(?:adds|changes|fixes|makes|mends|moves|removes|renames|updates)\b",
    re.IGNORECASE,
)
#: Git writes these itself.
_GITS_OWN = re.compile(r"(?:Merge|Revert|Reapply) ")
#: Git writes these, too: they may be committed, but must be gone when commits are judged.
_TO_BE_SQUASHED = re.compile(r"(?:fixup|squash|amend)! ")


def problems(subject: str) -> list[str]:
    """The faults of a subject, each with its remedy; none of a good one."""
    if _GITS_OWN.match(subject):
        return []
    found = []
    if len(subject) > LONGEST:
        found.append(f"has {len(subject)} characters; write at most {LONGEST}")
    match = _FORM.fullmatch(subject)
    if not match:
        found.append("has another form; write 'part: imperative', such as 'proxy: strip blanks'")
        return found
    if _NO_VERB.match(match["does"]):
        word = match["does"].split()[0]
        found.append(f"begins with {word!r} after the part; begin with a verb, such as 'strip'")
    if match["does"].endswith("."):
        found.append("ends with a point; leave it out")
    return found


def being_written(text: str) -> list[str]:
    """The subject of a message that git has just taken from an editor, without its comments."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [line for line in lines[:1] if not _TO_BE_SQUASHED.match(line)]


def since(base: str, directory: Path) -> list[str]:
    """The subjects of the commits that ``base`` does not have, merges left out."""
    asked = ["git", "log", "--no-merges", "--format=%s", f"{base}..HEAD", "--"]
    done = subprocess.run(asked, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"subjects: git does not know {base!r}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is wrong with each subject; 1 if anything is."""
    parser = argparse.ArgumentParser(prog="subjects", description=__doc__)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--since", metavar="BASE", help="a commit; those after it are judged")
    asked.add_argument("message", nargs="?", type=Path, metavar="FILE", help="a commit's message")
    given = parser.parse_args(arguments)
    if given.since:
        subjects = since(given.since, Path.cwd())
    else:
        subjects = being_written(given.message.read_text(encoding="utf-8"))
    found = [f"{subject!r} {fault}" for subject in subjects for fault in problems(subject)]
    print("\n".join(found) or f"subjects: {len(subjects)} judged, all good")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
