"""Reads JUnit XML, as pytest, ansible-test and tools/lint write it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from .stage import Failure, Tests

# JUnit XML has no place for it: the tests that were not run are just not there.
_EXIT = re.compile(r"!! _pytest\.outcomes\.Exit: (.+?) !!")


def read(paths: Iterable[Path]) -> Tests:
    """Return what the reports say together.

    Raises:
        ValueError: a file is no JUnit XML: its writer did not come to its end.
    """
    tests = Tests()
    for path in sorted(paths):
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            raise ValueError(f"{path} is no JUnit XML: {error}") from error
        for case in root.iter("testcase"):
            _count(case, tests)
    return tests


def stopped(log: Path) -> str:
    """Return why pytest was stopped before its last test, as the log has it; else nothing."""
    found = _EXIT.search(log.read_text(errors="replace"))
    return found[1] if found else ""


def _count(case: ElementTree.Element, tests: Tests) -> None:
    name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
    bad = [each for each in case if each.tag in ("failure", "error")]
    if bad:
        # One test may fail twice: in its body, then in its clean-up.
        tests.failures.append(Failure(name, "\n".join(map(_said, bad))))
        return
    skipped = case.find("skipped")
    if skipped is None:
        tests.passed += 1
    else:
        tests.skipped[_reason(skipped)] += 1


def _said(element: ElementTree.Element) -> str:
    """The message, then the text: pytest puts all in the first, ansible-test in the second."""
    message, text = (element.get("message") or "").strip(), (element.text or "").strip()
    return "\n".join(part for part in (message, text) if part)


def _reason(element: ElementTree.Element) -> str:
    text = (element.get("message") or element.text or "").strip()
    kind = element.get("type") or ""
    first = text.splitlines()[0] if text else "no reason given"
    return f"expected to fail: {first}" if kind == "pytest.xfail" else first
