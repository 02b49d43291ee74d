"""A cloudflared that does not know the flags of our unit is refused before anything changes."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import settings
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good

ELF = b"\x7fELF\x02\x01\x01" + bytes(4096)


def brought(tmp_path, content):
    """Return the problems of a binary with this content."""
    binary = tmp_path / "cloudflared"
    binary.write_bytes(content)
    found = settings.check_all(
        good(cloudflared_install_method="file", cloudflared_binary_file=str(binary))
    )
    return [str(problem) for problem in found]


@pytest.mark.parametrize("method", ["url", "package"])
def test_an_old_version_is_refused_and_nothing_else_is_said_of_it(method):
    (problem,) = settings.check_all(
        good(cloudflared_install_method=method, cloudflared_version="2026.4.10")
    )
    assert problem.subject == "cloudflared_version"
    assert "2026.4.10 does not know --no-prechecks" in problem.problem
    assert "2026.5.0 or later" in problem.remedy


def test_an_old_binary_is_refused(tmp_path):
    (problem,) = brought(tmp_path, ELF + b"no-autoupdatemetrics" + ELF)
    assert problem.startswith(f"cloudflared_binary_file: {tmp_path}/cloudflared does not know ")
    assert "Bring cloudflared 2026.5.0 or later" in problem


@pytest.mark.parametrize(
    "content",
    [
        ELF + b"no-autoupdateno-prechecksmetrics" + ELF,
        ELF + b"UPX!" + ELF,  # compressed: its texts cannot be seen
        b"#!/bin/sh\nexec cloudflared-2026\n",
        b"",
    ],
)
def test_a_binary_that_may_know_the_flag_is_taken(tmp_path, content):
    assert brought(tmp_path, content) == []
