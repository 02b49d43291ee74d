"""Runs the programs of a release."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .refused import Refused


def output(
    subject: str, command: Sequence[str], directory: Path, variables: Mapping[str, str]
) -> str:
    """Run a program in a directory, with more variables; return its standard output.

    :raises Refused: if it fails; names the subject, and has the whole output.
    """
    done = subprocess.run(
        list(command),
        cwd=directory,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise Refused(
            f"{subject}: exit status {done.returncode}. Repair it, and run this again.",
            output=(done.stdout + done.stderr).strip(),
        )
    return done.stdout
