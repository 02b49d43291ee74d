"""The list of modules that are not compiled: no pattern is idle, and the traffic's path is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from compiled.compiler import SOURCE
from compiled.modules import PURE, compiled

PACKAGE = SOURCE / "mcp_proxy"


def test_each_pattern_keeps_a_module_out() -> None:
    for pattern in PURE:
        assert list(PACKAGE.glob(pattern)), pattern


def test_a_pattern_is_about_whole_paths() -> None:
    names = {path.as_posix() for path in compiled(PACKAGE)}
    assert {"http1/server.py", "upstream/exchange.py", "watch/access_log.py"} <= names
    assert not names & {"__init__.py", "http1/__init__.py", "cli.py", "tls/contexts.py"}
    assert not any(name.startswith(("process/", "config/")) for name in names)


def _constants(path: Path) -> Iterator[tuple[str, str]]:
    """The constants of a module, each with its annotation; no variables of types."""
    for statement in ast.parse(path.read_text()).body:
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or not statement.value:
            continue
        if ast.unparse(statement.value).startswith("TypeVar("):
            continue
        annotation = getattr(statement, "annotation", None)
        for name in ast.walk(statement):
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store) and name.id.isupper():
                yield name.id, ast.unparse(annotation) if annotation else ""


def test_constants_are_final() -> None:
    """mypyc looks others up by name, in a dictionary, each time."""
    others = [
        f"{path}: {name}"
        for path in compiled(PACKAGE)
        for name, annotation in _constants(PACKAGE / path)
        if not annotation.startswith("Final")
    ]
    assert others == []
