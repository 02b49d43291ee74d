"""The controller gets ready what its hosts lack: each file once, and each problem once."""

from __future__ import annotations

import os
import stat
import sys
import urllib.request

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import cache
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import (
    cloudflared,
    openpgp,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    Target,
    release_for,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.readiness import (
    Host,
    Readiness,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.plugin_utils.releases import (
    test_openpgp,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.bundles import (
    empty_controller,
    in_cache,
    write_bundle,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good

BARE = {
    "architecture": "x86_64",
    "python_version": "3.11.2",
    "releases": {},
    "unpacked": {"proxy": [], "cloudflared": []},
}
ARM = {**BARE, "architecture": "aarch64"}
VERSION = release_for(Target("3.11.2", "x86_64"), "python3").version


@pytest.fixture(autouse=True)
def controller(tmp_path, monkeypatch):
    empty_controller(tmp_path, monkeypatch)


@pytest.fixture
def binary(tmp_path):
    path = tmp_path / "cloudflared"
    path.write_bytes(b"\x7fELF pretends to be cloudflared")
    return str(path)


@pytest.fixture
def without_pip(tmp_path):
    """An interpreter without pip."""
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    return str(python)


@pytest.fixture
def found(binary):
    """The findings about hosts, which are given by their facts."""

    def ready(*facts, python=sys.executable, **variables):
        values = good(
            cloudflared_install_method="file", cloudflared_binary_file=binary, **variables
        )
        hosts = {f"host{at}": Host(one, values) for at, one in enumerate(facts, 1)}
        return Readiness(hosts, python)

    return ready


def errors(readiness):
    return [failure.error for failure in readiness.failures]


def test_pip_is_missed_with_its_interpreter_and_the_hosts(found, without_pip):
    (text,) = map(str, errors(found(BARE, BARE, python=without_pip)))
    assert text.startswith(f"pip on the controller, for {without_pip}: is not installed")
    assert "for host1, host2. Install it" in text
    assert str(cache.cache_root()) in text
    assert "mcp_tunnel_bundle" in text


def test_an_interpreter_that_is_not_there(found, tmp_path):
    (problem,) = errors(found(BARE, python=str(tmp_path / "nothing")))
    assert problem.subject.startswith("pip on the controller")


def test_an_index_without_the_wheels_is_one_problem_for_all_hosts(found):
    (problem,) = errors(found(BARE, BARE, ARM))
    assert "x86_64" in problem.subject
    assert "aarch64" in problem.subject
    assert "pip on the controller failed" in problem.problem
    assert "mcp_tunnel_bundle" in problem.remedy


def test_hosts_that_have_the_releases_need_nothing(found, without_pip, binary):
    """Also where another one is active: a run was interrupted, or goes back one step."""
    brought = cloudflared.cloudflared_for(
        "x86_64", {"method": "file", "binary_file": binary, "binary_sha256": ""}
    )
    there = {"proxy": ["0.0.1", VERSION], "cloudflared": [brought.version]}
    active = {"proxy": "0.0.1", "cloudflared": brought.version}
    has_both = {**BARE, "releases": active, "unpacked": there}
    assert found(has_both, python=without_pip).failures == []
    assert not cache.cache_root().exists()
    old = {**has_both, "unpacked": {**there, "proxy": ["0.0.1"]}}
    assert len(found(old, python=without_pip).failures) == 1


def test_a_release_in_the_cache_needs_no_pip(found, without_pip):
    in_cache(VERSION)
    assert found(BARE, python=without_pip).failures == []
    (problem,) = errors(found(BARE, ARM, python=without_pip))
    assert "for host2. Install it" in str(problem)


def test_a_cache_that_cannot_be_written_is_one_problem(found, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc")
    (problem,) = errors(found(BARE, ARM))
    assert problem.subject == "/proc/mcp_tunnels.stack"
    assert "XDG_CACHE_HOME" in problem.remedy


def test_a_cache_that_can_only_be_read_is_enough_when_it_has_everything(found):
    in_cache(VERSION)
    assert found(BARE).failures == []
    listed = {path: path.stat().st_mtime_ns for path in cache.cache_root().iterdir()}
    assert found(BARE).failures == []
    assert {path: path.stat().st_mtime_ns for path in cache.cache_root().iterdir()} == listed


def test_a_controller_without_a_place_for_its_cache_is_told_so(monkeypatch, found, without_pip):
    """A user without a home, as in containers, who has set no directory for the cache."""

    def no_home():
        raise RuntimeError

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", no_home)
    (problem,) = errors(found(BARE, BARE, python=without_pip))
    assert "Set HOME, or XDG_CACHE_HOME" in problem.remedy


def test_a_cache_that_cannot_be_looked_into_has_nothing(monkeypatch, found, without_pip):
    monkeypatch.setenv("XDG_CACHE_HOME", f"/{'x' * 300}")
    problems = errors(found(BARE, python=without_pip))
    assert problems[0].subject.startswith("pip on the controller")


def test_a_host_with_an_unpinned_cloudflared_is_named(found):
    in_cache(VERSION)
    assert found(BARE, cloudflared_version="2026.11.1").failures == [], "the binary was brought"
    values = good(cloudflared_version="2026.11.1")
    (problem,) = errors(Readiness({"replica7": Host(BARE, values)}, sys.executable))
    assert problem.subject == "replica7: cloudflared_version"


def bundle_with(directory, version=VERSION, **how):
    return write_bundle(directory, {f"proxy-{version}.tar.gz": b"packed"}, **how)


def test_a_bundle_needs_no_pip_no_index_and_no_cache(
    found, tmp_path, without_pip, monkeypatch, binary
):
    brought = cloudflared.cloudflared_for(
        "x86_64", {"method": "file", "binary_file": binary, "binary_sha256": ""}
    )
    content = brought.archive().read_bytes()
    files = {f"proxy-{VERSION}.tar.gz": b"packed", brought.file_name: content}
    bundle = write_bundle(tmp_path / "bundle", files)
    for path in (*bundle.iterdir(), bundle):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o555)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc")
    ready = found(BARE, BARE, python=without_pip, mcp_tunnel_bundle=str(bundle))
    assert ready.failures == []
    assert sorted(path.name for path in bundle.iterdir()) == sorted(
        [*files, "SHA256SUMS", "manifest.json"]
    )


def test_hosts_that_install_packages_need_the_key_of_the_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc")
    armored = openpgp.armor(openpgp.dearmor(test_openpgp.KEY)).encode()
    files = {f"proxy-{VERSION}.tar.gz": b"packed", f"key-{test_openpgp.FINGERPRINT}.asc": armored}
    values = good(
        cloudflared_install_method="package",
        cloudflared_package_key_url="https://127.0.0.1:9/key.gpg",
        cloudflared_package_key_fingerprint=test_openpgp.FINGERPRINT,
        mcp_tunnel_bundle=str(write_bundle(tmp_path / "bundle", files)),
    )
    assert Readiness({"host1": Host(BARE, values)}, sys.executable).failures == []
    (failure,) = Readiness(
        {"host1": Host(BARE, {**values, "cloudflared_package_key_fingerprint": "A" * 40})}, "x"
    ).failures
    assert f"has no repository key {'A' * 40}" in failure.error.problem


def test_a_bundle_without_a_target_names_it_and_how_to_get_it(found, tmp_path):
    in_cache(release_for(Target("3.13.5", "aarch64"), "python3").version)
    bundle = bundle_with(tmp_path / "bundle")
    other = {**ARM, "python_version": "3.13.5"}
    (problem,) = errors(found(BARE, other, other, mcp_tunnel_bundle=str(bundle)))
    assert problem.subject == f"mcp_tunnel_bundle {bundle}"
    assert "has no proxy for Python 3.13 on aarch64, of mcp_tunnels.stack " in problem.problem
    assert f"It has proxy {VERSION}" in problem.problem
    assert '[{"python": "3.13", "architecture": "aarch64"}]' in problem.remedy
    assert "mcp_tunnels.stack.assemble" in problem.remedy


def test_a_bundle_of_the_same_version_with_other_code_is_told_apart(found, tmp_path):
    """A checkout changes without a new version."""
    older = "0.1.0-cp311-x86_64-00000000"
    about = {"python": "3.11", "architecture": "x86_64"}
    bundle = bundle_with(tmp_path / "bundle", version=older, about=about)
    (problem,) = errors(found(BARE, mcp_tunnel_bundle=str(bundle)))
    assert f"It has proxy {older}; the collection has changed since" in problem.problem
    assert f"now makes {VERSION}" in problem.problem


def test_a_problem_names_the_hosts_that_it_concerns(found, tmp_path):
    bundle = bundle_with(tmp_path / "bundle")
    (failure,) = found(BARE, ARM, BARE, ARM, mcp_tunnel_bundle=str(bundle)).failures
    assert failure.needed_by == ["host2", "host4"]


def test_a_damaged_bundle_is_one_problem(found, tmp_path):
    bundle = bundle_with(tmp_path / "bundle")
    path = bundle / f"proxy-{VERSION}.tar.gz"
    path.write_bytes(b"pacced")
    (problem,) = errors(found(BARE, BARE, mcp_tunnel_bundle=str(bundle)))
    assert path.name in problem.subject


def test_the_seed_comes_before_the_cache_and_needs_no_pip(found, tmp_path, without_pip):
    bundle_with(tmp_path / "no-seed")
    assert found(BARE, python=without_pip).failures == []
    (problem,) = errors(found(BARE, ARM, python=without_pip))
    assert "for host2. Install it" in str(problem), "what a seed lacks is made"


def test_a_seed_of_another_version_is_told_once_and_not_used(found, tmp_path, without_pip):
    bundle_with(tmp_path / "no-seed", made_by="9.8.7")
    in_cache(VERSION)
    ready = found(BARE, BARE, python=without_pip)
    assert ready.failures == []
    (warning,) = ready.warnings
    assert "9.8.7" in warning
    assert warning.endswith("It is not used.")


def test_a_seed_of_another_version_is_the_cause_of_what_is_missing(tmp_path, monkeypatch):
    """A project brings another version along than the execution environment: one error."""
    bundle_with(tmp_path / "no-seed", made_by="9.8.7")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    # Ansible's open_url installs an opener with this proxy for the whole process.
    monkeypatch.setattr(urllib.request, "_opener", None)
    values = good(cloudflared_download_url="http://127.0.0.1:9")
    ready = Readiness({"host1": Host(BARE, values), "host2": Host(ARM, values)}, sys.executable)
    (failure,) = ready.failures
    text = str(failure.error)
    assert text.startswith(f"the bundle {tmp_path}/no-seed: was assembled by version 9.8.7 of ")
    assert "so it is not used. Without it, the controller cannot have what hosts lack: " in text
    assert "collections/requirements.yml" in text
    assert failure.needed_by == ["host1", "host2"]
    assert ready.warnings == []


def test_a_damaged_seed_is_refused(found, tmp_path):
    seed = bundle_with(tmp_path / "no-seed")
    os.truncate(seed / f"proxy-{VERSION}.tar.gz", 1)
    in_cache(VERSION)
    (problem,) = errors(found(BARE))
    assert VERSION in problem.subject
