"""``tools/wheels``: see there, and docs/proxy.md."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from . import compiler, wheel

WHEELS = compiler.ROOT / "proxy_src/wheels"


def main() -> None:
    """Compile for each Python, and replace the wheels that were there; or make a tree."""
    parser = argparse.ArgumentParser(prog="tools/wheels", description=__doc__)
    parser.add_argument("--tree", type=Path, metavar="DIRECTORY", help="for tests: no wheel")
    options = parser.parse_args()
    try:
        if options.tree:
            _make_tree(options.tree)
        else:
            _make_wheels()
    except compiler.Refused as refused:
        sys.exit(f"{parser.prog}: {refused}")


def _make_wheels() -> None:
    pythons = compiler.found()
    if not pythons:
        raise compiler.Refused(
            f"no Python of {', '.join(compiler.PYTHONS)} with its headers; install python3-dev"
        )
    with tempfile.TemporaryDirectory() as scratch:
        finished = Path(scratch) / "wheels"
        finished.mkdir()
        for version, python in pythons.items():
            whole, made = compiler.compile_for(python, Path(scratch) / version)
            path = wheel.pack(made, whole / "mcp_proxy", finished)
            print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB", flush=True)
        for kept in wheel.of_other_architectures(WHEELS, path):
            shutil.copy(kept, finished)
            print(f"{kept.name}: is kept", flush=True)
        wheel.write_sums(finished)
        shutil.rmtree(WHEELS, ignore_errors=True)
        shutil.copytree(finished, WHEELS)
    missing = [version for version in compiler.PYTHONS if version not in pythons]
    if missing:
        print(f"none for {', '.join(missing)}: no such Python here, or without its headers")


def _make_tree(tree: Path) -> None:
    python = Path(sys.executable)
    if not compiler.has_headers(python):
        raise compiler.Refused(f"{python}: its headers are missing; install python3-dev")
    stamp, wanted = tree / "made-of", compiler.digest(python)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    with tempfile.TemporaryDirectory() as scratch:
        whole, _made = compiler.compile_for(python, Path(scratch) / "tree")
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(whole, tree, ignore=shutil.ignore_patterns("__pycache__"))
        stamp.write_text(wanted)


if __name__ == "__main__":
    main()
