"""fapolicyd, judged by the rules in its files."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check.program_control import (
    problem,
)

RULE = "allow perm=any all : dir=/opt/mcp-tunnel/\n"


def host(root, **files):
    (root / "etc/fapolicyd/trust.d").mkdir(parents=True)
    for name, text in files.items():
        (root / "etc/fapolicyd" / name.replace("__", "/").replace("_", ".")).write_text(text)
    return problem(lambda unit: unit == "fapolicyd.service", root)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"compiled_rules": "allow perm=any all : dir=/usr/\ndeny_audit perm=any all : all\n"},
        {"compiled_rules": f"# {RULE}"},
        {"compiled_rules": "deny perm=any all : dir=/opt/mcp-tunnel/\n"},
        {"compiled_rules": "allow perm=any all : dir=/opt/mcp-tunnels/\n"},
        {"fapolicyd_conf": "permissive = 0\n"},
    ],
)
def test_programs_that_it_does_not_know(tmp_path, files):
    said = host(tmp_path, **files)
    assert said.startswith("fapolicyd: is active and does not know /opt/mcp-tunnel")
    assert RULE.strip() in said
    assert "fagenrules --load" in said


@pytest.mark.parametrize(
    "files",
    [
        {"compiled_rules": RULE},
        {"compiled_rules": "allow perm=any all : dir=/opt/,/srv/ trust=0\n"},
        {"fapolicyd_trust": "/opt/mcp-tunnel/cloudflared/1/bin/cloudflared 1 aa\n"},
        {"trust_d__ours": "/opt/mcp-tunnel/cloudflared/1/bin/cloudflared 1 aa\n"},
        {"fapolicyd_conf": "# permissive = 0\npermissive = 1\n"},
    ],
)
def test_programs_that_it_lets_run(tmp_path, files):
    assert host(tmp_path, **files) == ""


def test_a_host_on_which_it_does_not_run(tmp_path):
    assert problem(lambda _unit: pytest.fail("asked for nothing"), tmp_path) == ""
    (tmp_path / "etc/fapolicyd").mkdir(parents=True)
    assert problem(lambda _unit: False, tmp_path) == ""
