"""Results on disk, and the figures that became worse than the recorded ones."""

from __future__ import annotations

import json
import os
import platform
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import BenchError
from benchmarks.rivals.interpreter import version

_HERE = Path(__file__).resolve().parent
LATEST = _HERE / "results" / "latest.json"
RECORDED = _HERE / "recorded.json"
#: A ratio that grew by less than this is noise.
TOLERANCE = 0.10

#: section ("proxy", "deploy") -> {"machine": …, "rows": {row: {column: figure}}}
Results = dict[str, Any]


def machine() -> dict[str, object]:
    """The kind of machine that a figure was taken on."""
    return {
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": version(),
        "openssl": ssl.OPENSSL_VERSION,
    }


def load(path: Path) -> Results:
    """A results file; empty when there is none yet.

    :raises BenchError: the file is not JSON
    """
    try:
        results: Results = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BenchError(f"{path} is not JSON ({error}): delete it or restore it") from error
    return results


def store(path: Path, new: Results) -> None:
    """Puts the new sections into a results file; it keeps sections that were not run."""
    content = json.dumps({**load(path), **new}, indent=2, ensure_ascii=False, sort_keys=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(content + "\n")
    temporary.replace(path)


def slower(new: Results, recorded: Results, columns: Mapping[str, float]) -> list[str]:
    """The figures that became worse, one line each.

    Compares only figures that another machine would also measure.

    :param columns: name of each compared column and by which part it may grow
    """
    lines = []
    for section, content in sorted(new.items()):
        known = recorded.get(section, {}).get("rows", {})
        for row, figures in content["rows"].items():
            for column, tolerance in columns.items():
                now, then = figures.get(column), known.get(row, {}).get(column)
                if now is not None and then is not None and now > then * (1 + tolerance):
                    lines.append(f"{section} {row}: {column} {then:g} -> {now:g}")
    return lines
