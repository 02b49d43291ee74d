"""``python -m release [--check] VERSION``; exit status 1 when there is no release."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from .refused import Refused
from .steps import Release
from .version import Version

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("--check", action="store_true", help="do everything but keep nothing")
    parser.add_argument("version", metavar="VERSION", help="such as 1.2.3")
    given = parser.parse_args()
    # A run that gets SIGTERM removes the files that it has made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        version = Version.parse(given.version)
        Release(ROOT, version, lambda line: print(line, flush=True)).run(given.check)
    except Refused as refusal:
        if refusal.output:
            print(refusal.output, file=sys.stderr)
        print("Not released:", *refusal.problems, sep="\n  ", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
