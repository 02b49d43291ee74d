"""Fuzzes one target, guided by the lines that are reached.

Usage: run.py TARGET [options of libFuzzer] [DIRECTORY or FILE...]. A target is a module fuzz_TARGET
with ``one_input(data)``, which raises if an invariant is broken.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / place) for place in ("fuzz", "src", "tests", "tests/conformance")]

name, *options = sys.argv[1:]
# Not the libraries: they are the reference, not the code to explore.
with atheris.instrument_imports(include=["mcp_proxy"]):
    target = importlib.import_module(f"fuzz_{name}")
# For -merge libFuzzer starts its own command again.
atheris.Setup([f"{sys.executable} {__file__} {name}", *options], target.one_input)
atheris.Fuzz()
