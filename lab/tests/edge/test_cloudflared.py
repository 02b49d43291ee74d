"""The choice of a lab's connector."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
from pathlib import Path

import pytest

from lab.core.errors import LabError
from lab.core.paths import LabPaths
from lab.core.services import Site
from lab.hosts import cloudflared


class _Paths(LabPaths):
    run_dir = Path()


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabPaths:
    """A run directory, an empty cache, and no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CLOUDFLARED_BINARY", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(_Paths, "run_dir", tmp_path)

    def unreachable(_url: str) -> bytes:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(cloudflared, "_download", unreachable)
    return _Paths("some")


def _pin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    pins = {"x86_64": ("amd64", hashlib.sha256(content).hexdigest())}
    monkeypatch.setattr(cloudflared, "_PINS", pins)


def test_a_given_binary_comes_first(paths: LabPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFLARED_BINARY", "/bin/true")
    chosen = cloudflared.provide(paths)
    assert chosen.path == os.path.realpath("/bin/true")
    assert "CLOUDFLARED_BINARY" in chosen.description


@pytest.mark.parametrize("wrong", ["/nowhere/cloudflared", "/etc/passwd", "/bin"])
def test_a_given_binary_that_cannot_be_run(
    paths: LabPaths, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("CLOUDFLARED_BINARY", wrong)
    with pytest.raises(LabError, match=wrong):
        cloudflared.provide(paths)


def test_without_network_the_stand_in(paths: LabPaths) -> None:
    chosen = cloudflared.provide(paths)
    assert "stand-in" in chosen.description
    assert os.access(chosen.path, os.X_OK)


def test_a_download_with_the_pinned_sum_is_kept(
    paths: LabPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pin(monkeypatch, b"genuine")
    asked: list[str] = []

    def download(url: str) -> bytes:
        asked.append(url)
        return b"genuine"

    monkeypatch.setattr(cloudflared, "_download", download)
    first, second = cloudflared.provide(paths), cloudflared.provide(paths)
    assert first == second
    assert Path(first.path).read_bytes() == b"genuine"
    assert [url.rpartition("/")[2] for url in asked] == ["cloudflared-linux-amd64"]


def test_a_download_with_another_sum_is_not_used(
    paths: LabPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pin(monkeypatch, b"genuine")
    monkeypatch.setattr(cloudflared, "_download", lambda _url: b"something else")
    assert "stand-in" in cloudflared.provide(paths).description


def test_a_spoilt_cache_is_not_used(paths: LabPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    _pin(monkeypatch, b"genuine")
    monkeypatch.setattr(cloudflared, "_download", lambda _url: b"genuine")
    kept = Path(cloudflared.provide(paths).path)
    kept.write_bytes(b"spoilt")
    cloudflared.provide(paths)
    assert kept.read_bytes() == b"genuine"


def test_the_lab_tells_what_it_chose(paths: LabPaths) -> None:
    chosen = cloudflared.provide(paths)
    plan = cloudflared.plan(Site("some", paths.run_dir, {}))
    assert plan.facts["cloudflared"]["path"] == chosen.path
    assert plan.variables["cloudflared_binary_file"] == chosen.path
    assert json.dumps(plan.facts)
