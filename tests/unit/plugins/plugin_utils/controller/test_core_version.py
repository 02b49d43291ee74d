from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import core_version

ROOT = Path(__file__).resolve().parents[5]


@pytest.mark.parametrize("version", ["2.15.13", "2.9.27", "2.16.0rc1", "2.16.0.dev0"])
def test_a_version_that_is_too_old(version):
    (problem,) = map(str, core_version.check_core(version))
    assert problem.startswith(f"ansible-core {version}: is too old for mcp_tunnels.stack")
    assert ">=2.16.0" in problem
    assert "pip install --upgrade ansible-core" in problem


@pytest.mark.parametrize("version", ["2.16.0", "2.18.9", "2.19.14", "2.22.0rc1", "3.0.0"])
def test_a_version_that_is_new_enough(version):
    assert list(core_version.check_core(version)) == []


def test_the_version_of_this_run_is_the_default():
    assert list(core_version.check_core()) == []


def test_the_pages_name_the_same_version():
    floor = re.search(r"[0-9]+\.[0-9]+", core_version.required()).group()
    for page in (ROOT / "README.md", ROOT / "docs/deployment.md"):
        named = re.findall(
            r"ansible-core (?:≥ )?([0-9]+\.[0-9]+)", page.read_text(encoding="utf-8")
        )
        assert floor in named, page
