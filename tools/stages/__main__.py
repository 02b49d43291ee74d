"""``python -m stages [--all | --cores] [NAME…]``: all stages, or those whose names begin so."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import plan, summary
from .run import Run
from .stage import Result, Stage

ROOT = Path(__file__).resolve().parents[2]


def run(stages: Sequence[Stage], root: Path, workers: int) -> int:
    """Run the stages, print what becomes of them, and return the exit status."""
    began = time.monotonic()

    def told(event: Result | Stage) -> None:
        print(summary.told(event), flush=True)

    results = Run(stages, root, root / ".build/logs", workers, told).all()
    ordered = [results[stage.name] for stage in stages]
    print(f"\n{summary.closing(ordered, time.monotonic() - began, root)}", flush=True)
    return 0 if all(result.good for result in ordered) else 1


def chosen(stages: Sequence[Stage], names: Sequence[str]) -> list[Stage]:
    """The stages whose names begin so, and those that they come after."""
    found = {
        stage.name
        for stage in stages
        if not names or any(stage.name.startswith(name) for name in names)
    }
    found |= {name for stage in stages if stage.name in found for name in stage.after}
    return [stage for stage in stages if stage.name in found]


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="tools/test", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="also what make test has no time for")
    which.add_argument("--cores", action="store_true", help="with each version of ansible-core")
    parser.add_argument("--list", action="store_true", help="print the names of the stages")
    parser.add_argument("names", nargs="*", metavar="NAME", help="how a stage's name begins")
    given = parser.parse_args()
    known = plan.CORES if given.cores else plan.ALL if given.all else plan.TEST
    stages = chosen(known, given.names)
    if not stages:
        parser.error(f"no stage has a name that begins with {' or '.join(given.names)}")
    if given.list:
        print("\n".join(stage.name for stage in stages))
        return 0
    # A run that gets SIGTERM ends the stages that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        # Work on hosts spends half of its time waiting.
        return run(stages, ROOT, workers=(os.cpu_count() or 1) + 1)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
