from __future__ import annotations

import sys
import tarfile

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import (
    proxy as proxy_release,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.command_source import (
    PACKAGE,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    ProxyRelease,
    Target,
    locked_requirements,
)

HOSTILE_VERSIONS = (
    "3/../../../tmp/x.1.2",
    "3.11.2 --index-url=http://evil.example",
    "3.11.2\n",
    "--index-url=http://evil.example",
    "3.11",
    "2.7.18",
    "3.٣.1",
    "3." + "1" * 1_000_000 + ".1",
    "",
)

LOCK = """\
cryptography==47.0.0 ; python_full_version <= '3.9' \\
    --hash=sha256:aaaa
cryptography==50.0.2 ; python_full_version > '3.9' \\
    --hash=sha256:bbbb \\
    --hash=sha256:cccc
# a comment
uvloop==0.23.0 \\
    --hash=sha256:dddd
colorama==1.0 ; sys_platform == 'win32' \\
    --hash=sha256:eeee
only-arm==1.0 ; platform_machine == 'aarch64' \\
    --hash=sha256:ffff
"""
COMMAND_LOCK = """\
rich==15.0.0 \\
    --hash=sha256:efef
"""
COMMANDS = {
    "mcp-tunnel": "mcp_tunnel",
    "mcp-tunnel-pass-question": "pass_question",
    "mcp-tunnel-renew-cert": "renew_cert",
    "mcp-tunnel-sign-cert": "sign_cert",
}
MODULE_LOCK = """\
requests==2.34.2 \\
    --hash=sha256:abab
"""


@pytest.fixture
def source(tmp_path):
    """A proxy_src like ours."""
    package = tmp_path / "proxy_src" / "src" / "mcp_proxy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (package / "cli.py").write_text("def main():\n    print('it runs')\n")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "cli.pyc").write_bytes(b"stale")
    (package / "tunnel" / "__pycache__").mkdir(parents=True)
    (package / "tunnel" / "server.py").write_text("x = 1\n")
    (package / "tunnel" / "__pycache__" / "server.pyc").write_bytes(b"stale")
    (tmp_path / "proxy_src" / "requirements.txt").write_text(LOCK)
    (tmp_path / "module-lock.txt").write_text(MODULE_LOCK)
    (tmp_path / "command-lock.txt").write_text(COMMAND_LOCK)
    module_utils = tmp_path / "module_utils"
    module_utils.mkdir()
    for name, imports in (
        ("commands/mcp_tunnel", "tables"),
        ("commands/renew_cert", "names"),
        ("tables", ""),
        ("commands/sign_cert", "errors"),
        ("commands/pass_question", ""),
        ("names", "errors"),
        ("errors", ""),
        ("web", ""),
    ):
        line = f"from {PACKAGE}.{imports} import x\n" if imports else "x = 1\n"
        path = module_utils / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(line)
    return tmp_path / "proxy_src"


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """An interpreter that records pip's arguments, and installs one package."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    script = tmp_path / "python"
    script.write_text(
        f"""#!/bin/sh
if [ "$3 $4" = "config list" ]; then exit 0; fi
echo "$@" >>{tmp_path}/calls
for last; do requirements=$last; done
cat "$requirements" >>{tmp_path}/asked
package=uvloop
for other in requests rich; do if grep -q "^$other" "$requirements"; then package=$other; fi; done
while [ $# -gt 0 ]; do if [ "$1" = --target ]; then lib=$2; fi; shift; done
info=$lib/$package-1.dist-info
mkdir -p "$lib/bin" "$lib/$package" "$info"
printf '%s\\n' "../../bin/script,sha256=$$,9" "$package/__init__.py,," >"$info/RECORD"
echo x >"$lib/$package/__init__.py"; echo x >"$lib/bin/script"
[ ! -e {tmp_path}/fail ] || {{ echo "ERROR: no index" >&2; exit 1; }}
"""
    )
    script.chmod(0o755)
    return str(script)


def release(source, pip, version="3.11.2", architecture="x86_64"):
    locks = {f"{name}-lib": source.parent / f"{name}-lock.txt" for name in ("module", "command")}
    module_utils, target = source.parent / "module_utils", Target(version, architecture)
    return ProxyRelease(source, module_utils, locks, target, pip)


@pytest.mark.parametrize(
    ("version", "architecture", "wanted"),
    [
        ("3.11.2", "x86_64", ["cryptography==50.0.2 --hash=sha256:bbbb --hash=sha256:cccc"]),
        # Debian 11's 3.9.2 is later than 3.9.0, and `<= '3.9'` means 3.9.0.
        ("3.9.2", "x86_64", ["cryptography==50.0.2 --hash=sha256:bbbb --hash=sha256:cccc"]),
        ("3.9.0", "x86_64", ["cryptography==47.0.0 --hash=sha256:aaaa"]),
    ],
)
def test_markers_are_those_of_the_target(source, version, architecture, wanted):
    lines = locked_requirements(source / "requirements.txt", Target(version, architecture))
    assert lines.splitlines() == [*wanted, "uvloop==0.23.0 --hash=sha256:dddd"]


def test_markers_see_the_targets_machine(source):
    lines = locked_requirements(source / "requirements.txt", Target("3.13.5", "aarch64"))
    assert "only-arm==1.0 --hash=sha256:ffff" in lines.splitlines()


def test_a_requirement_without_hash_is_refused(tmp_path):
    (tmp_path / "lock").write_text("uvloop==0.23.0\n")
    with pytest.raises(TunnelError, match="has no hash"):
        locked_requirements(tmp_path / "lock", Target("3.11.2", "x86_64"))


def test_the_version_tells_python_and_architecture_and_follows_the_content(source, pip):
    first = release(source, pip).version
    assert first.startswith("1.2.3-cp311-x86_64-")
    assert len(first.rsplit("-", 1)[1]) == 8
    assert release(source, pip, "3.11.9").version == first
    (source / "src/mcp_proxy/cli.py").write_text("def main():\n    pass\n")
    second = release(source, pip).version
    assert second != first
    (source.parent / "module-lock.txt").write_text(MODULE_LOCK.replace("abab", "cdcd"))
    third = release(source, pip).version
    assert third not in (first, second)
    (source.parent / "command-lock.txt").write_text(COMMAND_LOCK.replace("efef", "fefe"))
    assert release(source, pip).version not in (first, second, third)
    before = release(source, pip).version
    (source.parent / "module_utils/errors.py").write_text("x = 2\n")
    assert release(source, pip).version != before
    before = release(source, pip).version
    (source.parent / "module_utils/web.py").write_text("x = 2\n")
    assert release(source, pip).version == before, "the command does not need it"
    assert not (source.parent / "calls").exists(), "knowing a version takes no download"


def test_pip_gets_the_targets_platform_and_insists_on_hashes(source, pip):
    release(source, pip, architecture="aarch64").archive()
    call = (source.parent / "calls").read_text()
    for words in (
        "-m pip install",
        "--require-hashes",
        "--only-binary=:all:",
        "--no-deps",
        "--python-version 3.11.2",
        "--platform manylinux_2_28_aarch64",
    ):
        assert words in call
    assert ";" not in (source.parent / "asked").read_text()


def test_an_archive_is_made_once_and_always_with_the_same_bytes(source, pip):
    path = release(source, pip).archive()
    content = path.read_bytes()
    assert release(source, pip).archive() == path
    assert (source.parent / "calls").read_text().count("pip install") == 3, "one for each lock"
    path.unlink()
    assert release(source, pip).archive().read_bytes() == content


def test_what_is_in_an_archive(source, pip):
    built = release(source, pip)
    with tarfile.open(built.archive()) as archive:
        members = {member.name: member for member in archive}
        launcher = archive.extractfile("bin/mcp-proxy").read().decode()
        interpreter = archive.extractfile("bin/python3").read().decode()
        commands = {name: archive.extractfile(f"bin/{name}").read().decode() for name in COMMANDS}
        record = archive.extractfile("lib/uvloop-1.dist-info/RECORD").read().decode()
    # Scripts are not shipped, and their sums would depend on the controller's interpreter.
    assert record == "uvloop/__init__.py,,\n"
    directory = "command-lib/ansible_collections/mcp_tunnels/stack/plugins/module_utils"
    assert sorted(members) == [
        "bin/mcp-proxy",
        "bin/mcp-tunnel",
        "bin/mcp-tunnel-pass-question",
        "bin/mcp-tunnel-renew-cert",
        "bin/mcp-tunnel-sign-cert",
        "bin/python3",
        f"{directory}/commands/mcp_tunnel.py",
        f"{directory}/commands/pass_question.py",
        f"{directory}/commands/renew_cert.py",
        f"{directory}/commands/sign_cert.py",
        f"{directory}/errors.py",
        f"{directory}/names.py",
        f"{directory}/tables.py",
        "command-lib/rich-1.dist-info/RECORD",
        "command-lib/rich/__init__.py",
        "lib/mcp_proxy/__init__.py",
        "lib/mcp_proxy/cli.py",
        "lib/mcp_proxy/tunnel/server.py",
        "lib/uvloop-1.dist-info/RECORD",
        "lib/uvloop/__init__.py",
        "module-lib/requests-1.dist-info/RECORD",
        "module-lib/requests/__init__.py",
    ]
    assert members["bin/mcp-proxy"].mode == 0o755
    assert members["lib/mcp_proxy/cli.py"].mode == 0o644
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}
    lib = f"/opt/mcp-tunnel/proxy/{built.version}/lib"
    # Not through `current`: late imports must come from the release that was started.
    assert lib in launcher
    assert lib in interpreter
    # The service cannot import what only modules need.
    assert "module-lib" in interpreter
    assert "module-lib" not in launcher
    assert launcher.startswith("#!/usr/bin/python3 -IS\n")
    # Commands have the libraries of the proxy and of modules; nobody else has the commands'.
    root = f"/opt/mcp-tunnel/proxy/{built.version}"
    for name, module in COMMANDS.items():
        assert commands[name].startswith("#!/usr/bin/python3 -IS\n")
        assert (
            f"sys.path[:0] = ['{root}/lib', '{root}/command-lib', '{root}/module-lib']"
            in commands[name]
        )
        assert f"from {PACKAGE}.commands.{module} import main" in commands[name]
    assert "command-lib" not in launcher + interpreter


def test_a_failed_download_names_the_remedy_and_leaves_nothing(source, pip, tmp_path):
    (tmp_path / "fail").touch()
    with pytest.raises(TunnelError) as caught:
        release(source, pip).archive()
    assert "no index" in str(caught.value)
    assert "PIP_FIND_LINKS" in caught.value.remedy
    left = [path.name for path in (tmp_path / "cache" / "mcp_tunnels.stack").iterdir()]
    assert [name for name in left if not name.endswith(".lock")] == []


def test_our_own_lock_has_all_that_the_proxy_imports():
    source = proxy_release.Path(__file__).resolve().parents[5] / "proxy_src"
    for version in ("3.9.2", "3.10.12", "3.11.2", "3.12.3", "3.13.5"):
        lines = locked_requirements(source / "requirements.txt", Target(version, "x86_64"))
        names = {line.split("==")[0] for line in lines.splitlines()}
        assert "requests" not in names
        assert names >= {"cryptography", "hpack", "httptools", "pyyaml", "uvloop", "websockets"}
        assert len(names) == len(lines.splitlines()), "one variant of each"


def test_our_own_lock_has_all_that_the_modules_import():
    root = proxy_release.Path(__file__).resolve().parents[5]
    for version in ("3.9.2", "3.11.2", "3.13.5"):
        lines = locked_requirements(
            root / "roles/provision/files/requirements.txt", Target(version, "aarch64")
        )
        names = {line.split("==")[0] for line in lines.splitlines()}
        assert names >= {"jmespath", "pyjwt", "requests"}
        assert len(names) == len(lines.splitlines()), "one variant of each"


def test_our_own_lock_has_all_that_the_commands_import():
    root = proxy_release.Path(__file__).resolve().parents[5]
    for version in ("3.9.2", "3.11.2", "3.13.5"):
        lines = locked_requirements(
            root / "roles/proxy/files/requirements.txt", Target(version, "aarch64")
        )
        names = [line.split("==")[0] for line in lines.splitlines()]
        assert sorted(names) == ["markdown-it-py", "mdurl", "pygments", "rich"]


@pytest.mark.parametrize("version", HOSTILE_VERSIONS, ids=range(len(HOSTILE_VERSIONS)))
def test_what_a_host_says_of_its_python_is_no_path_and_no_argument(version):
    with pytest.raises(TunnelError, match="python_version: the host says") as caught:
        Target(version, "x86_64")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("version", ["3.9.2", "3.11.2+", "3.14.0rc2", "3.13.5"])
def test_versions_that_hosts_have(version):
    assert Target(version, "x86_64").python_version == version


def test_a_host_of_another_architecture_is_refused():
    with pytest.raises(TunnelError, match=r"architecture: the host says '../x'"):
        Target("3.11.2", "../x")


def test_an_archive_that_was_changed_is_not_shipped(source, pip):
    path = release(source, pip).archive()
    content = path.read_bytes()
    path.write_bytes(content + b"more")
    assert release(source, pip).archive().read_bytes() == content


def test_the_pip_that_lies_in_the_current_directory_is_not_run(source, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").write_text("")
    (tmp_path / "pip" / "__main__.py").write_text("open('ran', 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(TunnelError, match="pip on the controller failed"):
        release(source, sys.executable).archive()
    assert not (tmp_path / "ran").exists()
