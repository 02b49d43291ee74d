"""A stage of a test run, and its outcome."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """A command that runs tests, or prepares something for those that do.

    Attributes:
        name: its name in the summary; its log is named after it.
        command: program and arguments, run in the repository's root.
        reports: patterns of the JUnit XML files that it writes, relative to the repository's root.
            A stage without patterns runs no tests: only its exit status counts.
        after: names of stages without which this one has nothing to run on.
        limit: seconds after which it counts as hanging and is ended.
    """

    name: str
    command: tuple[str, ...]
    reports: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    limit: float = 2400

    @property
    def slug(self) -> str:
        """The name as a part of a file's name."""
        return self.name.replace(" ", "-")


@dataclass(frozen=True)
class Failure:
    """A test that failed: its name, and the text of its failure."""

    test: str
    text: str


@dataclass
class Tests:
    """The test results that a stage's reports give.

    Attributes:
        passed: number of tests.
        failures: tests that failed, and those whose set-up or clean-up did.
        skipped: reason -> number of tests.
    """

    __test__ = False

    passed: int = 0
    failures: list[Failure] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def executed(self) -> int:
        return self.passed + len(self.failures)


@dataclass
class Result:
    """The outcome of a stage.

    Attributes:
        tests: what its reports say.
        seconds: from its beginning to its end.
        processor: seconds of processor time, without what runs inside the laboratory's hosts.
        log: its whole output.
        problem: why it failed, apart from tests that failed; empty if there is no such reason.
    """

    stage: Stage
    log: Path
    tests: Tests = field(default_factory=Tests)
    seconds: float = 0
    processor: float = 0
    problem: str = ""

    @property
    def good(self) -> bool:
        return not self.problem and not self.tests.failures
