"""Do as Galaxy does with a published collection: build it, and import it with Galaxy's importer.

``python -m stages.importer [ARCHIVE]``; without an archive, one is built of this checkout. The
importer ends with success when it has only warned; here a warning is a failure, too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The importer's marks for its findings.
_BAD = re.compile(r"^(?:WARNING|ERROR|CRITICAL)\b|^Traceback ")


def findings(output: str) -> list[str]:
    """The lines of the importer's output that say that something is wrong."""
    return [line for line in output.splitlines() if _BAD.match(line)]


def _run(command: list[str], directory: str, **environment: str) -> tuple[int, str]:
    """Exit status and whole output of a command."""
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, done.stdout


def main() -> int:
    """Import the archive in a directory of its own; print the problems."""
    with tempfile.TemporaryDirectory() as directory:
        archives = [Path(name).resolve() for name in sys.argv[1:]]
        if not archives:
            build = ["ansible-galaxy", "collection", "build", "--output-path", directory, str(ROOT)]
            status, output = _run(build, directory)
            if status:
                print(output)
                return 1
            archives = list(Path(directory).glob("*.tar.gz"))
        (archive,) = archives
        importer = [sys.executable, "-m", "galaxy_importer.main", str(archive)]
        # Lint runs ansible-lint itself, with a stricter profile.
        switches = {"GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "false"}
        status, output = _run(importer, directory, HOME=directory, **switches)
    found = findings(output)
    print("\n".join(found))
    if status and not found:
        print(output)
    return 1 if status or found else 0


if __name__ == "__main__":
    sys.exit(main())
