"""A bundle is assembled from variables alone; bad ones are all told, and nothing is made."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import assembly
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.assembly import (
    Assembly,
    parse_targets,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    Target,
    release_for,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.bundles import (
    empty_controller,
    in_cache,
    pack_program,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good

X86 = {"python": "3.11", "architecture": "x86_64"}
MINORS = (9, 10, 11, 12, 13, 14)


@pytest.fixture(autouse=True)
def controller(tmp_path, monkeypatch):
    empty_controller(tmp_path, monkeypatch)


@pytest.fixture
def variables(tmp_path):
    """Variables for a bundle whose releases are in the cache."""
    archive = pack_program(b"Name: a\nVersion: 1\n", "lib/a-1.dist-info/METADATA")
    for minor in MINORS:
        in_cache(release_for(Target(f"3.{minor}.99", "x86_64"), sys.executable).version, archive)
    binary = tmp_path / "cloudflared"
    binary.write_bytes(b"pretends to be cloudflared")
    return good(
        cloudflared_install_method="file",
        cloudflared_binary_file=str(binary),
        mcp_tunnel_bundle_dest=str(tmp_path / "bundle"),
        mcp_tunnel_bundle_targets=[X86],
    )


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_one_release_serves_all_patch_levels_of_a_python(minor, architecture):
    """Of 3.9.0 alone, a marker in the lock says something else."""
    levels = [f"3.{minor}.{patch}" for patch in (1, 2, 10, 25, 99)] + [f"3.{minor}.2+"]
    found = {release_for(Target(level, architecture), "python3").version for level in levels}
    (target,) = parse_targets([{"python": f"3.{minor}", "architecture": architecture}])
    assert found == {release_for(target, "python3").version}


def test_targets_are_also_read_from_a_text():
    """As a survey of AWX, or -e name=value, gives them."""
    text = '- {python: "3.11", architecture: x86_64}\n- {python: 3.11.2, architecture: aarch64}'
    name = "mcp_tunnel_bundle_targets"
    given = role_options.as_meant({name: text})[name]
    assert [(one.python, one.architecture) for one in parse_targets(given)] == [
        ("3.11", "x86_64"),
        ("3.11", "aarch64"),
    ]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "must be a list of maps, is a list of 0"),
        ("", "must be a list of maps, is an empty text"),
        ("{", "must be a list of maps, is a text of 1 characters"),
        ({"python": "3.11"}, "must be a list of maps, is a map of 1"),
        (["3.11"], "[0]: must be a map of python and architecture"),
        ([X86, {"python": "3.11"}], "[1]: must be a map of python and architecture"),
        ([{**X86, "more": 1}], "[0]: must be a map of python and architecture"),
        ([{**X86, "python": 3.1}], "[0]: python is a number. Write it in quotes"),
        ([{**X86, "python": "2.7"}], "[0]: python_version '2.7.99', which is no version"),
        ([{**X86, "python": "3.11 --index-url=http://evil.example"}], "is no version of CPython"),
        ([{**X86, "python": "3.8"}], "[0]: python is 3.8. Hosts need 3.9 or later"),
        ([{**X86, "architecture": "i386"}], "[0]: architecture 'i386'"),
    ],
)
def test_targets_that_no_host_can_have(value, problem):
    with pytest.raises(TunnelError) as caught:
        parse_targets(value)
    assert str(caught.value).startswith("mcp_tunnel_bundle_targets")
    assert problem in str(caught.value)


@pytest.mark.parametrize("dest", ["", "bundle", "./bundle", "/", "//", "/a\0b", None, 7])
def test_a_bundle_needs_an_absolute_place_of_its_own(variables, dest):
    variables["mcp_tunnel_bundle_dest"] = dest
    (problem,) = Assembly(variables, sys.executable).problems
    assert problem.subject == "mcp_tunnel_bundle_dest"


def test_all_bad_variables_are_told(variables, monkeypatch):
    def missing():
        raise TunnelError("cyclonedx-python-lib", "is not installed", "Install it")

    monkeypatch.setattr(assembly, "check_library", missing)
    variables |= {"mcp_tunnel_bundle_dest": "", "mcp_tunnel_bundle_targets": []}
    subjects = [problem.subject for problem in Assembly(variables, sys.executable).problems]
    assert subjects == [
        "mcp_tunnel_bundle_dest",
        "mcp_tunnel_bundle_targets",
        "cyclonedx-python-lib",
    ]


def test_a_bundle_is_made_once(variables, tmp_path):
    first = Assembly(variables, sys.executable).make(check_mode=True)
    assert first["changed"]
    assert not (tmp_path / "bundle").exists(), "check mode writes nothing"
    made = Assembly(variables, sys.executable).make(check_mode=False)
    assert made["changed"]
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == made["files"]
    assert not Assembly(variables, sys.executable).make(check_mode=False)["changed"]


def test_targets_that_share_a_release_have_it_once(variables):
    variables["mcp_tunnel_bundle_targets"] = [X86, {**X86, "python": "3.11.7"}]
    files = Assembly(variables, sys.executable).make(check_mode=True)["files"]
    assert len([name for name in files if name.startswith("proxy-")]) == 1


def test_what_cannot_be_had_is_told_and_no_bundle_is_made(variables, tmp_path):
    variables["mcp_tunnel_bundle_targets"] = [X86, {**X86, "architecture": "aarch64"}]
    made = Assembly(variables, sys.executable)
    assert made.make(check_mode=False) == {}
    (problem,) = made.problems
    assert "aarch64" in problem.subject
    assert not (tmp_path / "bundle").exists()


def test_with_packages_the_key_of_the_repository_is_in_it(variables):
    variables |= {
        "cloudflared_install_method": "package",
        "cloudflared_package_key_url": "https://127.0.0.1:9/key.gpg",
    }
    made = Assembly(variables, sys.executable)
    made.make(check_mode=True)
    (problem,) = made.problems
    assert problem.subject == "https://127.0.0.1:9/key.gpg"
