"""The operator's settings of pip, with the real pip and a wheel that the test makes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import pip_settings
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    ProxyRelease,
    Target,
)

# Each of them breaks an assembly, or makes it install nothing or something else.
HARMFUL = {
    "user": "true",
    "require-virtualenv": "true",
    "prefix": "/nonexistent/prefix",
    "root": "/nonexistent/root",
    "target": "/nonexistent/target",
    "dry-run": "true",
    "no-binary": ":all:",
    "constraint": "/nonexistent/constraints.txt",
    "requirement": "/nonexistent/requirements.txt",
    "quiet": "2",
    "platform": "win32",
}


def variable(name):
    return "PIP_" + name.upper().replace("-", "_")


@pytest.fixture
def source(tmp_path):
    """A proxy_src that needs one wheel, and a directory with it."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "x = 1\n")
        information = "tiny-1.0.dist-info"
        archive.writestr(
            f"{information}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{information}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(
            f"{information}/RECORD",
            "".join(f"{name},,\n" for name in (*archive.namelist(), f"{information}/RECORD")),
        )
    lock = f"tiny==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    package = tmp_path / "proxy_src" / "src" / "mcp_proxy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "proxy_src" / "requirements.txt").write_text(lock)
    (tmp_path / "module-lock.txt").write_text("\n")
    (tmp_path / "module_utils").mkdir()
    (tmp_path / "module_utils" / "commands").mkdir()
    for name in ("mcp_tunnel", "renew_cert", "sign_cert", "pass_question"):
        (tmp_path / "module_utils" / "commands" / f"{name}.py").write_text("x = 1\n")
    return tmp_path


@pytest.fixture
def clean(tmp_path, monkeypatch):
    """No pip settings of the user who runs the tests."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return monkeypatch


@pytest.mark.parametrize("where", ["environment", "file"])
def test_settings_that_mean_an_environment_of_somebody(source, clean, where):
    useful = {"no-index": "1", "find-links": str(source / "wheels")}
    settings = {**HARMFUL, **useful}
    if where == "environment":
        for name, value in settings.items():
            clean.setenv(variable(name), value)
    else:
        path = source / "config" / "pip" / "pip.conf"
        path.parent.mkdir(parents=True)
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        path.write_text(f"[install]\n{lines}")
    target = Target("3.11.2", "x86_64")
    release = ProxyRelease(
        source / "proxy_src",
        source / "module_utils",
        {"module-lib": source / "module-lock.txt"},
        target,
        sys.executable,
    )
    with tarfile.open(release.archive()) as archive:
        assert "lib/tiny.py" in archive.getnames()
    assert not os.path.exists("/nonexistent")


def test_what_is_kept_and_which_of_it_wins():
    listing = (
        "global.index-url='https://user:planted@index.example/simple'\n"
        "global.extra-index-url='https://a.example\\nhttps://b.example'\n"
        "global.user='true'\n"
        "install.index-url='https://other.example/simple'\n"
        'install.find-links="/srv/it\'s here"\n'
        "download.no-index='true'\n"
        ":env:.retries='0'\n"
        ":env:.user='1'\n"
        "something else\n"
    )
    assert pip_settings.used(listing) == {
        "index-url": "https://other.example/simple",
        "extra-index-url": "https://a.example\nhttps://b.example",
        "find-links": "/srv/it's here",
        "retries": "0",
    }


def test_the_environment_of_pip(clean, tmp_path):
    path = tmp_path / "pip.conf"
    path.write_text(
        "[global]\nuser = true\nextra-index-url =\n  https://a.example\n  https://b.example\n"
    )
    clean.setenv("PIP_CONFIG_FILE", str(path))
    clean.setenv("PIP_RETRIES", "0")
    clean.setenv("PIP_TARGET", "/nonexistent")
    clean.setenv("KEPT", "yes")
    made = pip_settings.environment(sys.executable)
    assert {name: value for name, value in made.items() if name.startswith("PIP_")} == {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_EXTRA_INDEX_URL": "https://a.example https://b.example",
        "PIP_RETRIES": "0",
    }
    assert (made["KEPT"], made["PYTHONSAFEPATH"]) == ("yes", "1")


def test_an_interpreter_without_pip(clean, tmp_path):
    """This step says nothing: the installation will."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexit 1\n")
    script.chmod(0o755)
    assert subprocess.run([script], check=False).returncode == 1
    assert "PIP_CONFIG_FILE" not in pip_settings.environment(str(script))
