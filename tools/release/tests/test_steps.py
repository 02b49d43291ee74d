"""The way of a release in a repository of its own, with the programs replaced and git real."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from release import steps
from release.refused import Refused
from release.steps import Release
from release.version import Version

FILES = {
    "galaxy.yml": "version: 0.1.0\n",
    "proxy_src/pyproject.toml": '[project]\nversion = "0.1.0"\n',
    "proxy_src/src/mcp_proxy/__init__.py": '__version__ = "0.1.0"\n',
    "changelogs/changelog.yaml": "releases:\n  0.1.0: {}\n",
    "changelogs/fragments/all.yml": "release_summary: What it is for.\nbugfixes: [mended]\n",
    ".gitignore": "/.build/\n",
    "ansible.cfg": "",
}


class Checkout:
    """A repository with one commit, and the release's messages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[str] = []
        self.fail: str | None = None
        self.at_the_checks: Callable[[], None] = lambda: None
        self.git("init", "--quiet", "--initial-branch", "main")
        for name, value in (("user.name", "A"), ("user.email", "a@example.net")):
            self.git("config", name, value)
        self.write(FILES)
        self.commit("all: begin")

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.root, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

    def commit(self, subject: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", subject)

    def release(self, version: str, check: bool = False) -> None:
        Release(self.root, Version.parse(version), self.told.append).run(check)

    def state(self) -> tuple[str, ...]:
        """Everything that a release may change."""
        questions = (
            ["rev-parse", "HEAD"],
            ["tag"],
            ["status", "--porcelain"],
            ["worktree", "list"],
        )
        return tuple(self.git(*words) for words in questions)

    def refused(self, version: str) -> str:
        """The reason why there is no release; nothing may have changed."""
        before = self.state()
        with pytest.raises(Refused) as refusal:
            self.release(version)
        assert self.state() == before
        assert not (self.root / ".build/release").exists()
        return "\n".join(refusal.value.problems)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A checkout whose programs make the same files as the real ones, and a good archive."""
    (tmp_path / "checkout").mkdir()
    made = Checkout(tmp_path / "checkout")

    def output(subject: str, command: Sequence[str], directory: Path, _: Any) -> str:
        if "stages.changelog" in command:
            version = yaml.safe_load((directory / "galaxy.yml").read_text())["version"]
            (directory / "CHANGELOG.md").write_text(f"# {version}\n")
            (directory / "changelogs/changelog.yaml").write_text(f"releases:\n  {version}: {{}}\n")
            (directory / "changelogs/fragments/all.yml").unlink()
        if "build" in command:
            out = Path(command[-1])
            out.mkdir()
            (out / "collection.tar.gz").write_bytes((directory / "galaxy.yml").read_bytes())
        if made.fail and made.fail in command:
            raise Refused(f"{subject}: exit status 1")
        return ""

    class Archive:
        def __init__(self, archive: Path, *_: Any) -> None:
            assert archive.is_file()

        def check(self, _: Any) -> None:
            made.at_the_checks()

    monkeypatch.setattr(steps, "output", output)
    monkeypatch.setattr(steps, "Archive", Archive)
    return made


def test_a_release_is_one_commit_one_tag_and_one_archive(checkout: Checkout) -> None:
    before = checkout.git("rev-parse", "HEAD")
    checkout.release("0.2.0")
    assert checkout.git("log", "--format=%s", "-1") == "release: publish version 0.2.0"
    assert checkout.git("rev-parse", "HEAD~1") == before
    assert checkout.git("rev-parse", "v0.2.0^{commit}") == checkout.git("rev-parse", "HEAD")
    assert checkout.git("cat-file", "-t", "v0.2.0") == "tag"
    assert checkout.git("status", "--porcelain") == ""
    assert checkout.git("worktree", "list").count("\n") == 0
    assert not (checkout.root / ".build/release").exists()
    for name in FILES.keys() - {"ansible.cfg", ".gitignore", "changelogs/fragments/all.yml"}:
        assert "0.2.0" in (checkout.root / name).read_text()
    archive = checkout.root / ".build/mcp_tunnels-stack-0.2.0.tar.gz"
    assert archive.read_text() == "version: 0.2.0\n"


def test_check_keeps_nothing(checkout: Checkout) -> None:
    before = checkout.state()
    checkout.release("0.2.0", check=True)
    assert checkout.state() == before
    assert sorted(path.name for path in (checkout.root / ".build").iterdir()) == ["release.lock"]


def test_a_first_release_has_the_version_that_is_written(checkout: Checkout) -> None:
    checkout.write({"changelogs/changelog.yaml": "releases: {}\n"})
    checkout.write({"changelogs/fragments/all.yml": "release_summary: x\nmajor_changes: [it]\n"})
    checkout.commit("all: nothing released yet")
    checkout.release("0.1.0")
    assert checkout.git("tag") == "v0.1.0"


def test_everything_that_speaks_against_it_is_told_at_once(checkout: Checkout) -> None:
    checkout.git("tag", "v0.1.0")
    checkout.write({"new.txt": "", "galaxy.yml": "version: 0.1.0\n# x\n"})
    checkout.write({"changelogs/fragments/all.yml": "trivial: [x]\n"})
    found = checkout.refused("0.1.0")
    assert "not committed: changelogs/fragments/all.yml, galaxy.yml, new.txt" in found
    assert "tag v0.1.0: exists" in found
    assert "0.1.0 is not newer than the released 0.1.0" in found
    assert "no fragment says what has changed" in found
    assert "0 fragments have a release_summary" in found


@pytest.mark.parametrize(
    ("fragment", "problem"),
    [
        ("bugfixes: [x]\n", "0 fragments have a release_summary"),
        ("release_summary: x\n", "no fragment says what has changed"),
        ("release_summary: x\ntrivial: [x]\n", "no fragment says what has changed"),
    ],
)
def test_a_missing_fragment_is_refused(checkout: Checkout, fragment: str, problem: str) -> None:
    checkout.write({"changelogs/fragments/all.yml": fragment})
    checkout.commit("all: another fragment")
    assert problem in checkout.refused("0.2.0")


def test_repairs_alone_are_no_first_release(checkout: Checkout) -> None:
    checkout.write({"changelogs/changelog.yaml": "releases: {}\n"})
    checkout.commit("all: nothing released yet")
    assert "no fragment says what has changed" in checkout.refused("0.2.0")


def test_an_older_version_than_a_tag_is_refused(checkout: Checkout) -> None:
    checkout.git("tag", "v0.10.0")
    checkout.git("tag", "nightly")
    assert "0.9.0 is not newer than the released 0.10.0" in checkout.refused("0.9.0")


def test_without_a_branch_it_is_refused(checkout: Checkout) -> None:
    checkout.git("checkout", "--quiet", "--detach")
    assert "no branch is checked out" in checkout.refused("0.2.0")


def test_a_second_release_of_the_same_version_is_refused(checkout: Checkout) -> None:
    checkout.release("0.2.0")
    assert "tag v0.2.0: exists" in checkout.refused("0.2.0")


@pytest.mark.parametrize(
    "program", ["stages.changelog", "lint-changelog-yaml", "yamllint", "build"]
)
def test_a_step_that_fails_leaves_nothing(checkout: Checkout, program: str) -> None:
    checkout.fail = program
    assert "exit status 1" in checkout.refused("0.2.0")
    checkout.fail = None
    checkout.release("0.2.0")


def test_an_archive_that_is_not_good_is_not_released(checkout: Checkout) -> None:
    def bad() -> None:
        raise Refused("archive: bad")

    checkout.at_the_checks = bad
    assert "archive: bad" in checkout.refused("0.2.0")


def test_a_checkout_that_changes_meanwhile_is_not_released(checkout: Checkout) -> None:
    checkout.at_the_checks = lambda: checkout.write({"new.txt": ""})
    with pytest.raises(Refused, match="has changed during the release"):
        checkout.release("0.2.0")
    assert checkout.git("tag") == ""


@pytest.mark.parametrize("more", [(), ("--lock",)], ids=["in a step", "while git made the tree"])
def test_what_an_interrupted_run_left_is_removed(checkout: Checkout, more: tuple[str, ...]) -> None:
    tree = checkout.root / ".build/release/tree"
    checkout.git("worktree", "add", *more, "--quiet", "--detach", str(tree), "HEAD")
    (tree / "galaxy.yml").write_text("version: 0.2.0\n")
    checkout.release("0.2.0")
    assert checkout.git("worktree", "list").count("\n") == 0


@pytest.fixture
def half(checkout: Checkout) -> Checkout:
    """A checkout whose release was killed when the tag was made and the branch had not moved."""
    base = checkout.git("rev-parse", "HEAD")
    checkout.release("0.2.0")
    checkout.git("reset", "--quiet", "--hard", base)
    return checkout


def test_a_branch_that_did_not_follow_its_tag_follows(half: Checkout) -> None:
    half.release("0.2.0")
    assert half.git("rev-parse", "HEAD") == half.git("rev-parse", "v0.2.0^{commit}")
    assert half.git("status", "--porcelain") == ""


def test_files_that_had_followed_are_no_hindrance(half: Checkout) -> None:
    half.write({"galaxy.yml": "version: 0.2.0\n", "CHANGELOG.md": "# 0.2.0\n"})
    (half.root / "changelogs/fragments/all.yml").unlink()
    half.release("0.2.0")
    assert half.git("status", "--porcelain") == ""


def test_completing_overwrites_no_work(half: Checkout) -> None:
    half.write({"galaxy.yml": "version: 0.2.0\nmine: true\n"})
    assert "galaxy.yml: changed since" in half.refused("0.2.0")


def test_check_does_not_complete(half: Checkout) -> None:
    before = half.state()
    half.release("0.2.0", check=True)
    assert half.state() == before
    assert "next run completes it" in half.told[-1]


def test_two_releases_at_a_time_are_refused(checkout: Checkout) -> None:
    problems: list[str] = []

    def second() -> None:
        with pytest.raises(Refused) as refusal:
            checkout.release("0.3.0")
        problems.extend(refusal.value.problems)

    checkout.at_the_checks = second
    checkout.release("0.2.0")
    assert problems == ["release: another one runs in this checkout. Wait for it."]
