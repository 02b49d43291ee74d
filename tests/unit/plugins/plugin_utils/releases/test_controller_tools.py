"""A controller without pip is refused only when it would have to assemble something."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import cache
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.controller_tools import (
    check_controller,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    Target,
    release_for,
)

BARE = {"architecture": "x86_64", "python_version": "3.11.2", "releases": {}}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def without_pip(tmp_path):
    """An interpreter without pip."""
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    return str(python)


def test_pip_is_missed_with_its_interpreter_and_the_hosts(without_pip):
    problems = check_controller({"host1": BARE, "host2": BARE}, without_pip)
    (text,) = map(str, problems)
    assert text.startswith(f"pip on the controller, for {without_pip}: is not installed")
    assert "for host1, host2. Install it" in text
    assert str(cache.cache_root()) in text


def test_an_interpreter_that_is_not_there(tmp_path):
    assert check_controller({"host1": BARE}, str(tmp_path / "nothing"))


def test_with_pip_there_is_nothing_to_say():
    assert check_controller({"host1": BARE}, sys.executable) == []


def test_hosts_that_run_the_release_need_nothing(without_pip):
    version = release_for(Target("3.11.2", "x86_64"), without_pip).version
    assert check_controller({"host1": {**BARE, "releases": {"proxy": version}}}, without_pip) == []
    old = {**BARE, "releases": {"proxy": "0.0.1"}}
    assert len(check_controller({"host1": old}, without_pip)) == 1


def test_a_release_in_the_cache_needs_no_pip(without_pip):
    version = release_for(Target("3.11.2", "x86_64"), without_pip).version
    cache.cache_root().mkdir(parents=True)
    (cache.cache_root() / f"proxy-{version}.tar.gz").touch()
    assert check_controller({"host1": BARE}, without_pip) == []
    other = {**BARE, "architecture": "aarch64"}
    assert len(check_controller({"host1": BARE, "host2": other}, without_pip)) == 1


def test_a_controller_without_a_place_for_its_cache_is_told_so(monkeypatch, without_pip):
    """A user without a home, as in containers, who has set no directory for the cache."""

    def no_home():
        raise RuntimeError

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", no_home)
    (problem,) = check_controller({"host1": BARE}, without_pip)
    assert "Set HOME, or XDG_CACHE_HOME" in problem.remedy


def test_a_cache_that_cannot_be_looked_into_has_nothing(monkeypatch, without_pip):
    monkeypatch.setenv("XDG_CACHE_HOME", f"/{'x' * 300}")
    (problem,) = check_controller({"host1": BARE}, without_pip)
    assert problem.subject.startswith("pip on the controller")
