"""The way of a release, from the checkout to the tag.

All work happens in a separate working tree below ``.build``. The tag is made after the last check
has passed, and the branch follows the tag: an interruption before the tag leaves nothing to keep,
and one after it leaves nothing to decide.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import places, rules
from .checks import Archive
from .programs import output
from .refused import Refused
from .repository import Repository
from .version import Version


class Release:
    """One version, released from one checkout."""

    def __init__(self, root: Path, version: Version, told: Callable[[str], None]) -> None:
        """``told`` is called with each line for the reader."""
        self._here = Repository(root)
        self._version = version
        self._told = told
        self._work = root / ".build/release"
        self._tree = Repository(self._work / "tree")

    @property
    def archive(self) -> Path:
        """The archive of this release, once there is one."""
        return self._here.root / f".build/mcp_tunnels-stack-{self._version}.tar.gz"

    def run(self, check: bool) -> None:
        """Release it; or, with ``check``, do everything but keep nothing.

        :raises Refused: if it cannot be released; the checkout is as it was.
        """
        with self._alone():
            self._undo()
            if self._tagged_only():
                self._complete(check)
                return
            rules.judge(self._here, self._version)
            base = self._here.commit_of("HEAD")
            try:
                built = self._built(base)
                if check:
                    self._told(f"{self._version} can be released. Nothing was kept.")
                    return
                self._keep(base, built)
            finally:
                self._undo()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second release of this checkout away."""
        self._work.parent.mkdir(exist_ok=True)
        with (self._work.parent / "release.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused("release: another one runs in this checkout. Wait for it.") from None
            yield

    def _undo(self) -> None:
        """Remove the intermediate files of this run, or of one that was interrupted."""
        shutil.rmtree(self._work, ignore_errors=True)
        self._here.forget_worktree(self._tree.root)

    def _tagged_only(self) -> bool:
        """Whether a run was interrupted after the tag and before the branch."""
        return (
            bool(self._here.branch())
            and self._here.commit_of(self._version.tag) != ""
            and self._here.commit_of(f"{self._version.tag}~1") == self._here.commit_of("HEAD")
        )

    def _complete(self, check: bool) -> None:
        """Let the branch follow the tag, over the files that the interrupted run wrote."""
        tag = self._version.tag
        for path in self._here.changed():
            known = [self._here.content(commit, path) for commit in ("HEAD", tag)]
            if self._here.content_here(path) not in known:
                raise Refused(
                    f"{path}: changed since the release of {self._version} was interrupted. "
                    "Commit it elsewhere or remove it, and run this again."
                )
        if check:
            self._told(f"{tag} exists, and the branch does not have it: the next run completes it.")
            return
        self._here.git("reset", "--quiet", "--hard", tag)
        self._told(f"completed: the branch {self._here.branch()} has {tag}")

    def _built(self, base: str) -> Path:
        """Commit the release on top of ``base`` in its own tree; build and check the archive."""
        tree = self._tree.root
        self._here.git("worktree", "add", "--quiet", "--detach", str(tree), base)
        places.write(tree, self._version)
        self._program("python", "-m", "stages.changelog")
        self._program("antsibull-changelog", "lint-changelog-yaml", "changelogs/changelog.yaml")
        # The files that the release wrote have to pass lint as well, or the next commit would not.
        self._program("yamllint", "--strict", ".")
        self._program("antsibull-changelog", "lint")
        self._tree.git("add", "--all")
        # The hooks judge work on the code; the checks below judge more than they do.
        subject = f"release: publish version {self._version}"
        self._tree.git("commit", "--quiet", "--no-verify", "--message", subject)
        self._told("version, changelog: written")
        out = self._work / "archive"
        self._program("ansible-galaxy", "collection", "build", "--output-path", str(out))
        (built,) = out.iterdir()
        self._told(f"{built.name}: built")
        scratch = self._work / "installed"
        scratch.mkdir()
        checks = Archive(built, self._version, scratch, tree / "tools")
        checks.check(lambda name: self._told(f"{name}: passed"))
        return built

    def _program(self, *command: str) -> None:
        tree = self._tree.root
        variables = {"PYTHONPATH": str(tree / "tools"), "ANSIBLE_CONFIG": str(tree / "ansible.cfg")}
        output(" ".join(command[:3]), command, self._tree.root, variables)

    def _keep(self, base: str, built: Path) -> None:
        """Archive, tag, branch; in this order. See the module."""
        if self._here.commit_of("HEAD") != base or self._here.changed():
            raise Refused("checkout: has changed during the release. Run this again.")
        os.replace(built, self.archive)
        tag, commit = self._version.tag, self._tree.commit_of("HEAD")
        self._here.git("tag", "--annotate", "--message", f"Version {self._version}", tag, commit)
        self._here.git("merge", "--quiet", "--ff-only", tag)
        self._told(f"{tag}: tagged; the branch {self._here.branch()} has it")
        self._told(f"{self.archive.relative_to(self._here.root)}: the archive to publish")
