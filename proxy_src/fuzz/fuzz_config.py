"""Configuration files: read, or refused with problems that name their place."""

from __future__ import annotations

import os
import sys

from mcp_proxy.config.load import ConfigError, load
from mcp_proxy.config.model import Config

_PATH = f"/dev/fd/{os.memfd_create('config')}"


def one_input(data: bytes) -> None:
    """*data* is the file."""
    with open(_PATH, "wb") as file:
        file.write(data)
    lines = (
        data.count(b"\n") + data.count(b"\r") + len(data.decode("utf-8", "replace").splitlines())
    )
    try:
        config = load(_PATH)
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert 1 <= problem.line <= lines + 1, problem
            assert problem.what, problem
            assert problem.remedy, problem
        for line in error.lines():
            assert len(line.splitlines()) == 1, line
        return
    assert isinstance(config, Config)
    assert config.routes
    assert sys.intern(config.log_level) in ("debug", "info", "warn", "error")
