"""The list of modules that are not compiled: no pattern is idle, and the traffic's path is."""

from __future__ import annotations

import ast

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


def test_constants_are_final() -> None:
    """mypyc looks others up by name, in a dictionary, each time."""
    others = [
        f"{path}: {target.id}"
        for path in compiled(PACKAGE)
        for statement in ast.parse((PACKAGE / path).read_text()).body
        if isinstance(statement, (ast.Assign, ast.AnnAssign))
        and "Final" not in ast.unparse(getattr(statement, "annotation", statement.value))
        and not ast.unparse(statement.value or statement).startswith("TypeVar(")
        for target in ast.walk(statement)
        if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)
        if target.id.isupper()
    ]
    assert others == []
