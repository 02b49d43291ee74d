"""Every check that reads the code without running it, a line each, with what a failing one says.

``python -m stages.lint [NAME…]``: all checks, or those with these names; .pre-commit-config.yaml
names each of them once.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / ".build/reports/lint.xml"
_SHELL = re.compile(r"#!/bin/(ba)?sh|# shellcheck shell")

#: Name and command; the slowest come first.
CHECKS: dict[str, tuple[str, ...]] = {
    "galaxy-importer": ("python", "-m", "stages.importer"),
    "ansible-lint, profile production": ("ansible-lint", "--offline", "--profile", "production"),
    "antsibull-docs": (
        *("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "."),
    ),
    "mypy: laboratory, benchmarks, tools": (
        *(
            "env",
            "MYPYPATH=tools:.build/collections",
            "mypy",
            "-p",
            "lab",
            "-p",
            "benchmarks",
            "-p",
            "stages",
        ),
        *("-p", "release", "-p", "execution_environment", "-p", "compiled"),
        *("-p", "tests.machines", "-p", "tests.systems"),
    ),
    # Hosts run it with their own Python. mypy knows none that is older.
    "mypy: connector's stand-in": ("mypy", "--python-version", "3.10", "-p", "lab.connector"),
    "mypy: plugins": (
        *("env", "MYPYPATH=.build/collections", "mypy", "--namespace-packages"),
        *("--explicit-package-bases", "-p", "ansible_collections.mcp_tunnels.stack.plugins"),
    ),
    "import-linter: plugins, laboratory": (
        *("env", "PYTHONPATH=.build/collections", "lint-imports", "--no-cache", "pyproject.toml"),
    ),
    "mypy: proxy": ("mypy", "proxy_src/src"),
    "mypy: documentation site": ("mypy", "tools/docs-site"),
    "import-linter: proxy": (
        *("env", "-C", "proxy_src", "PYTHONPATH=src"),
        *("lint-imports", "--no-logo", "--no-cache", "pyproject.toml"),
    ),
    "yamllint": ("yamllint", "--strict", "."),
    "ruff check": ("ruff", "check", "."),
    "ruff format": ("ruff", "format", "--check", "."),
    "shellcheck": ("shellcheck", "--external-sources"),
    "antsibull-changelog": ("antsibull-changelog", "lint"),
}


def _shell_files() -> list[str]:
    """The shell scripts of the repository, whatever their names are."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name and _is_shell(ROOT / name)]


def _is_shell(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return bool(_SHELL.match(file.readline(200).decode(errors="replace")))


def _check(name: str) -> tuple[float, int, str]:
    """Run a check: seconds, exit status, output."""
    began = time.monotonic()
    files = _shell_files() if name == "shellcheck" else []
    done = subprocess.run(
        [*CHECKS[name], *files],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return time.monotonic() - began, done.returncode, done.stdout


def main() -> int:
    """Run the checks, say what each found, and write the report if all of them ran."""
    parser = argparse.ArgumentParser(prog="tools/lint", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="one of: " + ", ".join(CHECKS))
    names = parser.parse_args().names or list(CHECKS)
    if unknown := sorted(set(names) - CHECKS.keys()):
        parser.error(f"no check is called {' or '.join(unknown)}. There are: {', '.join(CHECKS)}")
    suite = ElementTree.Element("testsuite", name="lint")
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, (seconds, status, output) in zip(names, pool.map(_check, names), strict=True):
            case = ElementTree.SubElement(suite, "testcase", name=name, time=f"{seconds:.1f}")
            if status:
                failed += 1
                print(f"FAILED  {name}\n{output}", flush=True)
                # XML has no way to write the control characters of a terminal.
                text = re.sub(r"[^\t\n\x20-\ud7ff]", "?", output)
                ElementTree.SubElement(case, "failure").text = text
            else:
                print(f"ok      {name} ({seconds:.0f} s)", flush=True)
    if len(names) == len(CHECKS):
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(suite).write(REPORT)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
