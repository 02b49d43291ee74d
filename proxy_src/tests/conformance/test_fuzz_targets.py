"""The fuzz targets: their corpus, and some thousand new inputs each (``make fuzz`` goes on)."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.py"))


def corpus(target: str) -> dict[str, bytes]:
    """The inputs of a target by their names."""
    with ZipFile(FUZZ / "corpus" / f"{target}.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_breaks_no_invariant(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FUZZ))
    one_input = importlib.import_module(f"fuzz_{target}").one_input
    inputs = corpus(target)
    assert inputs
    for data in inputs.values():
        one_input(data)


def test_each_corpus_is_one_archive_of_a_target() -> None:
    assert sorted(path.name for path in (FUZZ / "corpus").iterdir()) == [
        f"{target}.zip" for target in TARGETS
    ]
    for target in TARGETS:
        for name, data in corpus(target).items():
            # A digest; or words, for an input that is kept regardless of the code it reaches.
            digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            assert name == digest or re.fullmatch("[a-z]+(-[a-z]+)+", name)


def test_an_archive_is_unpacked_and_packed_again_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FUZZ))
    module = importlib.import_module("corpus")
    paths = module.unpack("control", tmp_path / "inputs")
    assert {path.name: path.read_bytes() for path in paths} == corpus("control")
    monkeypatch.setattr(module, "archive", lambda target: tmp_path / f"{target}.zip")
    module._pack("control", tmp_path / "inputs")
    assert (tmp_path / "control.zip").read_bytes() == (FUZZ / "corpus/control.zip").read_bytes()


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="there is no atheris for this machine"
)
@pytest.mark.parametrize("target", TARGETS)
def test_new_inputs_break_no_invariant(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FUZZ))
    importlib.import_module("corpus").unpack(target, tmp_path / "corpus")
    (tmp_path / "new").mkdir()
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
            *(str(tmp_path / "new"), str(tmp_path / "corpus")),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=250,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done " in done.stderr
