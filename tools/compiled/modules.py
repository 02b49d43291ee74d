"""Which modules of the proxy are compiled."""

from __future__ import annotations

from pathlib import Path, PurePath

#: Patterns of modules that stay as they are, and why. All others are compiled.
PURE = {
    "__init__.py": "a docstring",
    "*/__init__.py": "a docstring",
    "__main__.py": "python -m runs source",
    "cli.py": "runs once",
    "process/*.py": "start, lead and replace processes; no traffic passes",
    "tls/*.py": "read files and fill contexts; OpenSSL does the work",
    "config/*.py": "read once; rules look up the defaults of dataclasses, which mypyc hides",
    "upstream/dial.py": "waits for names and addresses; mypyc has no default for its attribute",
    "upstream/tls.py": "mypyc gives a class one base that is not compiled, and this one has two",
    "watch/admin.py": "serves scrapes and probes",
    "system/build.py": "tells whether others are compiled",
    "watch/exposition.py": "writes the page of a scrape, in the supervisor",
    "watch/*_metrics.py": "measure at a scrape, in the supervisor",
    "watch/host_file.py": "reads files at a scrape",
    "watch/log.py": "logging refers to its handlers weakly; mypyc leaves such references behind",
    "watch/snapshots.py": "adds up at a scrape, in the supervisor",
}


def compiled(package: Path) -> list[Path]:
    """The modules of *package*, a directory, that are compiled; relative to it and sorted."""
    found = (path.relative_to(package) for path in package.rglob("*.py"))
    return sorted(path for path in found if not any(map(path.match, _patterns(path))))


def _patterns(path: PurePath) -> list[str]:
    """The patterns that have as many parts as *path*: others would match its end alone."""
    return [pattern for pattern in PURE if pattern.count("/") == len(path.parts) - 1]
