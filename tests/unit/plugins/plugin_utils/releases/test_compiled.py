"""Compiled modules are in a release where they fit, and nowhere else."""

from __future__ import annotations

import hashlib
import sys
import tarfile
import zipfile

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import (
    places as release_places,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import (
    proxy as proxy_release,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.assembly import Assembly
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.compiled import (
    Wheel,
    source_digest,
    wheel_for,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.places import Places
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    ProxyRelease,
    Target,
    release_for,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.bundles import (
    empty_controller,
    pack_program,
    write_bundle,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good

HOST = Target("3.11.2", "x86_64")
MODULE = "mcp_proxy/log.cpython-311-x86_64-linux-gnu.so"


@pytest.fixture
def source(tmp_path):
    package = tmp_path / "proxy_src/src/mcp_proxy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (package / "log.py").write_text("x = 1\n")
    (tmp_path / "proxy_src/requirements.txt").write_text("")
    return tmp_path / "proxy_src"


def add_wheel(source, tag="cp311-cp311-manylinux_2_17_x86_64", content=b"machine code"):
    directory = source / "wheels"
    directory.mkdir(exist_ok=True)
    version = f"1.2.3+{source_digest(source / 'src/mcp_proxy')}"
    path = directory / f"mcp_proxy_compiled-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(MODULE), content)
        metadata = f"Name: mcp_proxy_compiled\nVersion: {version}\n"
        name = f"mcp_proxy_compiled-{version}.dist-info/METADATA"
        archive.writestr(zipfile.ZipInfo(name), metadata)
    with (directory / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    return path


def release(source, target=HOST, wheel=None):
    module_utils = source / "../module_utils/commands"
    module_utils.mkdir(parents=True, exist_ok=True)
    for name in ("mcp_tunnel", "renew_cert", "sign_cert", "pass_question"):
        (module_utils / f"{name}.py").touch()
    return ProxyRelease(source, module_utils.parent, {}, target, sys.executable, wheel)


@pytest.mark.parametrize(
    ("tag", "version", "architecture"),
    [
        ("cp311-cp311-manylinux_2_17_x86_64", "3.11.2", "x86_64"),
        ("cp311-cp311-manylinux_2_28_x86_64", "3.11.14", "x86_64"),
        ("cp313-cp313-manylinux_2_17_aarch64", "3.13.5", "aarch64"),
    ],
)
def test_a_wheel_that_fits_is_taken(source, tag, version, architecture):
    path = add_wheel(source, tag)
    found = wheel_for(source, Target(version, architecture).wheel_tags())
    assert found == Wheel(hashlib.sha256(path.read_bytes()).hexdigest(), path)


@pytest.mark.parametrize(
    "tag",
    [
        "cp313-cp313-manylinux_2_17_x86_64",
        "cp311-cp311t-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux_2_17_aarch64",
        # Of a later glibc than each host has.
        "cp311-cp311-manylinux_2_34_x86_64",
        "cp311-cp311-linux_x86_64",
    ],
)
def test_a_wheel_that_does_not_fit_is_left_out(source, tag):
    add_wheel(source, tag)
    assert wheel_for(source, HOST.wheel_tags()) is None


def test_a_wheel_of_other_source_is_left_out(source):
    add_wheel(source)
    (source / "src/mcp_proxy/log.py").write_text("x = 2\n")
    assert wheel_for(source, HOST.wheel_tags()) is None


def test_without_wheels_there_is_none(source):
    assert wheel_for(source, HOST.wheel_tags()) is None


@pytest.mark.parametrize("damage", ["wheel", "sums"])
def test_a_wheel_with_another_sum_is_refused_with_the_remedy(source, damage):
    path = add_wheel(source)
    if damage == "wheel":
        path.write_bytes(b"exchanged")
    else:
        (source / "wheels/SHA256SUMS").unlink()
    with pytest.raises(TunnelError) as caught:
        wheel_for(source, HOST.wheel_tags())
    assert caught.value.subject == str(path)
    assert "SHA-256" in caught.value.problem
    assert "make wheels" in caught.value.remedy


def test_a_compiled_release_has_another_name_and_says_what_it_is(source):
    add_wheel(source)
    wheel = wheel_for(source, HOST.wheel_tags())
    pure, compiled = release(source), release(source, wheel=wheel)
    assert pure.version != compiled.version
    assert release(source, wheel=Wheel("00" * 32)).version not in (pure.version, compiled.version)
    assert pure.entry["build"] == "pure"
    assert "wheel_sha256" not in pure.entry
    assert (compiled.entry["build"], compiled.entry["wheel_sha256"]) == ("compiled", wheel.sha256)


def test_compiled_modules_stand_beside_their_source(source, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ProxyRelease, "_install_wheels", lambda *_: None)
    path = add_wheel(source)
    built = release(source, wheel=wheel_for(source, HOST.wheel_tags()))
    with tarfile.open(built.archive()) as archive:
        assert {"lib/mcp_proxy/log.py", f"lib/{MODULE}"} <= set(archive.getnames())
        assert archive.extractfile(f"lib/{MODULE}").read() == b"machine code"
    built.archive().unlink()
    path.write_bytes(b"exchanged meanwhile")
    with pytest.raises(TunnelError, match="SHA-256"):
        built.archive()


@pytest.fixture
def here(source, tmp_path, monkeypatch):
    """The collection of this controller has *source*; its release with other modules."""
    release(source)
    for name in ("provision", "proxy"):
        lock = tmp_path / f"roles/{name}/files/requirements.txt"
        lock.parent.mkdir(parents=True)
        lock.touch()
    (tmp_path / "plugins").mkdir()
    (tmp_path / "module_utils").rename(tmp_path / "plugins/module_utils")
    monkeypatch.setattr(proxy_release, "_COLLECTION", tmp_path)


def places_with(tmp_path, release):
    files = {release.file_name: b"x"}
    return Places(str(write_bundle(tmp_path / "bundle", files, about=release.entry)))


def test_a_controller_without_wheels_takes_the_compiled_release_of_a_bundle(source, here, tmp_path):
    assert release_for(HOST, "python3").entry["build"] == "pure"
    add_wheel(source)
    theirs = release_for(HOST, "python3")
    assert theirs.entry["build"] == "compiled"
    places = places_with(tmp_path, theirs)
    for path in (source / "wheels").iterdir():
        path.unlink()
    assert release_for(HOST, "python3", places).version == theirs.version
    # Of another source it is as good as none.
    (source / "src/mcp_proxy/log.py").write_text("x = 2\n")
    found = release_for(HOST, "python3", places)
    assert found.entry["build"] == "pure"
    assert not places.has(found)


def test_a_controller_with_wheels_takes_the_pure_release_of_a_bundle(source, here, tmp_path):
    places = places_with(tmp_path, release_for(HOST, "python3"))
    add_wheel(source)
    assert release_for(HOST, "python3").entry["build"] == "compiled"
    assert release_for(HOST, "python3", places).entry["build"] == "pure"


def test_a_seed_with_compiled_modules_serves_an_assembly(source, here, tmp_path, monkeypatch):
    """Of a controller without them, and without an index."""
    empty_controller(tmp_path, monkeypatch)
    add_wheel(source)
    theirs = release_for(HOST, "python3")
    content = pack_program(b"Name: a\nVersion: 1\n", "lib/a-1.dist-info/METADATA")
    seed = write_bundle(tmp_path / "seed", {theirs.file_name: content}, about=theirs.entry)
    monkeypatch.setattr(release_places, "SEED", seed)
    for path in (source / "wheels").iterdir():
        path.unlink()
    binary = tmp_path / "cloudflared"
    binary.write_bytes(b"pretends to be cloudflared")
    variables = good(
        cloudflared_install_method="file",
        cloudflared_binary_file=str(binary),
        mcp_tunnel_bundle_dest=str(tmp_path / "bundle"),
        mcp_tunnel_bundle_targets=[{"python": "3.11", "architecture": "x86_64"}],
    )
    assembly = Assembly(variables, sys.executable)
    made = assembly.make(check_mode=False)
    assert assembly.problems == []
    assert theirs.file_name in made["files"]
