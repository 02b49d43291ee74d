"""The fuzz targets: their corpus, and some thousand new inputs each (``make fuzz`` runs on)."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.py"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_breaks_no_invariant(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FUZZ))
    one_input = importlib.import_module(f"fuzz_{target}").one_input
    inputs = sorted((FUZZ / "corpus" / target).iterdir())
    assert inputs
    for path in inputs:
        one_input(path.read_bytes())


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="there is no atheris for this machine"
)
@pytest.mark.parametrize("target", TARGETS)
def test_new_inputs_break_no_invariant(target: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(
                sys.executable,
                str(FUZZ / "run.py"),
                target,
                "-runs=2000",
                "-seed=1",
                "-max_len=512",
            ),
            *(str(tmp_path), str(FUZZ / "corpus" / target)),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=100,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done " in done.stderr
