"""Configuration files for tests: the smallest good one, and the problems of others."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from mcp_proxy.config import load as config
from mcp_proxy.config.load import ConfigError
from mcp_proxy.config.model import Config

DOMAIN = "abcd1234.tunnel.anthropic.com"


def load(files: Path, text: str) -> Config:
    path = files / "proxy.yaml"
    path.write_text(textwrap.dedent(text).replace("DIR", str(files)))
    return config.load(str(path))


def problems(files: Path, text: str) -> list[str]:
    """The problems of a configuration, each as ``LINE field: what; remedy``."""
    with pytest.raises(ConfigError) as caught:
        load(files, text)
    return [f"{problem.line} {problem}" for problem in caught.value.problems]


MINIMAL = f"""\
listen_addr: ":8080"
tunnel_domain: {DOMAIN}
tls:
  cert_file: DIR/tls.crt
  key_file: DIR/tls.key
routes:
  echo: http://10.0.0.5:8000
"""


def minimal(**changes: str) -> str:
    """The smallest good file with some of its lines (named by their field) replaced."""
    lines = []
    for line in MINIMAL.splitlines():
        field = line.split(":")[0].strip()
        lines.append(changes.pop(field, line))
    return "\n".join([*lines, *changes.values(), ""])
