"""The git repository of a release."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .refused import Refused


class Repository:
    """A checkout; every method is one git command, or asks a few."""

    def __init__(self, root: Path) -> None:
        """``root`` is the directory that has ``.git``."""
        self.root = root

    def git(self, *words: str) -> str:
        """Output of a git command, without the last line break.

        :raises Refused: if it fails; with what git said.
        """
        done = self._run(words)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise Refused(f"git {words[0]}: failed. See what git says.", output=said)
        return done.stdout.rstrip("\n")

    def forget_worktree(self, path: Path) -> None:
        """Forget a working tree whose directory is gone."""
        # Git locks one while it makes it, and a kill leaves the lock. It fails where there is none.
        self._run(("worktree", "unlock", str(path)))
        self.git("worktree", "prune")

    def commit_of(self, name: str) -> str:
        """The commit that a name leads to, in full; empty if there is none."""
        return self._run(("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")).stdout.strip()

    def branch(self) -> str:
        """The branch that is checked out; empty if none is."""
        return self._run(("symbolic-ref", "--quiet", "--short", "HEAD")).stdout.strip()

    def tags(self) -> list[str]:
        """The names of all tags."""
        return self.git("tag", "--list").splitlines()

    def changed(self) -> list[str]:
        """Paths that differ from the last commit, new ones included, ignored ones not."""
        tracked = self.git("diff", "--name-only", "-z", "HEAD").split("\0")
        new = self.git("ls-files", "-z", "--others", "--exclude-standard").split("\0")
        return sorted({path for path in [*tracked, *new] if path})

    def content(self, commit: str, path: str) -> str | None:
        """The object of a path in a commit; None if it is not there."""
        return (
            self._run(("rev-parse", "--verify", "--quiet", f"{commit}:{path}")).stdout.strip()
            or None
        )

    def content_here(self, path: str) -> str | None:
        """The object that the file in the checkout would be; None if it is not there."""
        if not (self.root / path).is_file():
            return None
        return self.git("hash-object", f"--path={path}", str(self.root / path))

    def _run(self, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *words], cwd=self.root, capture_output=True, text=True, check=False
        )
