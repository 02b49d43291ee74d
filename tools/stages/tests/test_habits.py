"""A contributor's tools do the same as ``make lint`` and CI; these tests hold them together."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomllib
import yaml

from stages import lint, subjects

ROOT = Path(__file__).resolve().parents[3]


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def verbs() -> set[str]:
    """The targets of the Makefile that are commands."""
    (listed,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    return set(listed.split())


def hooks() -> list[dict[str, Any]]:
    (own,) = read(".pre-commit-config.yaml")["repos"]
    # The network would be needed for hooks of other repositories.
    assert own["repo"] == "local"
    return list(own["hooks"])


def test_the_hooks_and_make_lint_are_one_list() -> None:
    ran = [shlex.split(hook["entry"]) for hook in hooks() if hook.get("stages") != ["commit-msg"]]
    assert {words[0] for words in ran} == {"tools/lint"}
    assert all(len(words) == 2 for words in ran)
    named = [words[1] for words in ran]
    assert sorted(named) == sorted(lint.CHECKS), (
        "a check of tools/stages/lint.py has no hook in .pre-commit-config.yaml, or the reverse"
    )


def test_the_hooks_need_nothing_but_the_checkout() -> None:
    assert {hook["language"] for hook in hooks()} == {"system"}
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config"], cwd=ROOT, check=False
    )
    assert done.returncode == 0


def test_a_check_without_a_name_in_the_list_is_refused() -> None:
    asked = [sys.executable, "-m", "stages.lint", "yamllint", "yamlint"]
    done = subprocess.run(asked, cwd=ROOT / "tools", capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no check is called yamlint." in done.stderr


@pytest.mark.parametrize(
    "subject",
    [
        "proxy: strip blanks around response fields",
        "docs, comments: name the port",
        "unit tests: bring back the table of names",
        "proxy_src/fuzz: string the cases together",
        "firewall: need no restart",
        "proxy: " + "x" * 65,
        "Merge branch 'topic'",
        'Revert "Proxy changes"',
    ],
)
def test_good_subjects(subject: str) -> None:
    assert subjects.problems(subject) == []


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        ("proxy: " + "x" * 66, "has 73 characters"),
        ("Proxy: strip blanks", "another form"),
        ("strip blanks", "another form"),
        ("proxy:strip blanks", "another form"),
        ("proxy: ", "another form"),
        ("one two three: strip blanks", "another form"),
        ("", "another form"),
        ("proxy: strip blanks.", "ends with a point"),
        ("proxy: the blanks are stripped", "begins with 'the'"),
        ("proxy: Added a field", "begins with 'Added'"),
        ("proxy: fixes blanks", "begins with 'fixes'"),
        ("proxy: stripping blanks", "begins with 'stripping'"),
        ("fixup! proxy: strip blanks", "another form"),
    ],
)
def test_bad_subjects(subject: str, problem: str) -> None:
    assert any(problem in found for found in subjects.problems(subject))


def test_a_message_that_is_written_is_judged_by_its_first_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = tmp_path / "COMMIT_EDITMSG"
    message.write_text("\n# a comment\nProxy: blanks\n\nproxy: a body that is no subject.\n")
    assert subjects.main([str(message)]) == 1
    assert capsys.readouterr().out.count("\n") == 1
    message.write_text("proxy: strip blanks\n\nThe reason.\n")
    assert subjects.main([str(message)]) == 0
    message.write_text("fixup! Proxy: blanks\n")
    assert subjects.main([str(message)]) == 0


def test_commits_since_a_base_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.net")

    def git(*words: str) -> None:
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--initial-branch", "main")
    for subject in ("Bad, and old", "proxy: strip blanks", "Bad, and new"):
        git("commit", "--allow-empty", "--message", subject)
    monkeypatch.chdir(tmp_path)
    assert subjects.since("HEAD~2", tmp_path) == ["Bad, and new", "proxy: strip blanks"]
    assert subjects.main(["--since", "HEAD~2"]) == 1
    assert subjects.main(["--since", "HEAD"]) == 0
    with pytest.raises(SystemExit, match="git does not know 'nowhere'"):
        subjects.main(["--since", "nowhere"])


def test_ci_runs_verbs_of_the_makefile_only() -> None:
    ran: list[str] = []
    for job in read(".github/workflows/ci.yml")["jobs"].values():
        for step in job["steps"]:
            command = step.get("run", "")
            if match := re.fullmatch(r"sudo make ((?:[a-z-]+ ?)+)(?: ?BASE=\"\$BASE\")?", command):
                ran += match[1].split()
            else:
                assert not command or step.get("if") == "failure()", command
    assert set(ran) == {"bootstrap", "lint", "subjects", "test"}
    assert set(ran) <= verbs()


def test_ci_takes_actions_by_their_commit_only() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    taken = re.findall(r"uses:\s*(\S+)", text)
    assert taken
    assert all(re.fullmatch(r"actions/checkout@[0-9a-f]{40}", name) for name in taken), taken


def test_make_help_lists_every_verb() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(re.findall(r"^ *make ([a-z0-9-]+)", done.stdout, re.M)) == verbs()


def editorconfig() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    text = (ROOT / ".editorconfig").read_text(encoding="utf-8")
    parser.read_string("[top]\n" + text)
    return parser


def test_editors_ruff_and_yamllint_agree() -> None:
    editor = editorconfig()
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert editor["*.py"]["max_line_length"] == str(ruff["line-length"])
    rules = read(".yamllint")["rules"]
    assert editor["*.{yml,yaml}"]["max_line_length"] == str(rules["line-length"]["max"])
    # Both formatters' defaults; neither file changes them.
    assert "indent-width" not in ruff
    assert editor["*"]["indent_size"] == "4"
    assert "indentation" not in rules
    assert editor["*.{yml,yaml}"]["indent_size"] == "2"


def test_texts_are_as_editors_are_told_to_write_them() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.py", "*.yml", "*.md", "*.toml", "Makefile", "tools/*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    wrong = []
    for name in filter(None, listed.stdout.split("\0")):
        if not (ROOT / name).is_file():
            continue
        text = (ROOT / name).read_bytes()
        if b"\r" in text or re.search(rb"[ \t]\n", text) or (text and not text.endswith(b"\n")):
            wrong.append(name)
    assert wrong == []
