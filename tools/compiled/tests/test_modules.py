"""The list of modules that are not compiled: no pattern is idle, and the traffic's path is."""

from __future__ import annotations

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
