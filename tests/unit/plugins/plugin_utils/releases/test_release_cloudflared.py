from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import (
    cloudflared as cloudflared_release,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.cloudflared import (
    BroughtCloudflared,
    DownloadedCloudflared,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.pins import PINS

BINARY = b"\x7fELF pretends to be cloudflared"
CHECKSUM = hashlib.sha256(BINARY).hexdigest()
BASE = "https://mirror.example/releases/"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mcp_tunnels.stack"


@pytest.fixture
def web(monkeypatch):
    """The vendor's server: its answer, and the addresses that it was asked for."""
    asked = []

    def open_url(url, timeout):
        asked.append(url)
        return io.BytesIO(BINARY)

    monkeypatch.setattr(cloudflared_release, "open_url", open_url)
    return asked


def test_a_download_is_asked_for_once_by_the_vendors_name(web):
    release = DownloadedCloudflared("2026.11.1", "aarch64", BASE, {"aarch64": CHECKSUM.upper()})
    assert release.version == f"2026.11.1-{CHECKSUM[:8]}"
    assert web == []
    path = release.archive()
    release.archive()
    assert web == ["https://mirror.example/releases/2026.11.1/cloudflared-linux-arm64"]
    with tarfile.open(path) as archive:
        (member,) = archive.getmembers()
        assert (member.name, member.mode) == ("bin/cloudflared", 0o755)
        assert archive.extractfile(member).read() == BINARY


def test_another_content_than_the_pinned_is_refused_and_not_kept(web, cache):
    release = DownloadedCloudflared("2026.10.0", "x86_64", BASE, {})
    with pytest.raises(TunnelError) as caught:
        release.archive()
    assert CHECKSUM in str(caught.value)
    assert PINS["2026.10.0"]["x86_64"] in str(caught.value)
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_a_version_without_pin_is_refused():
    with pytest.raises(TunnelError, match=r"2026\.11\.1 has no pinned SHA-256 for x86_64"):
        DownloadedCloudflared("2026.11.1", "x86_64", BASE, {"aarch64": CHECKSUM})


def test_an_unreachable_server_names_the_other_ways(monkeypatch):
    def open_url(url, timeout):
        raise OSError("no route to host")

    monkeypatch.setattr(cloudflared_release, "open_url", open_url)
    with pytest.raises(TunnelError, match="no route to host") as caught:
        DownloadedCloudflared("2026.10.0", "x86_64", BASE, {}).archive()
    assert "cloudflared_install_method: file" in caught.value.remedy


def test_a_brought_binary_is_known_by_its_content(tmp_path):
    binary = tmp_path / "anything"
    binary.write_bytes(BINARY)
    release = BroughtCloudflared(binary, CHECKSUM.upper())
    assert release.version == f"file-{CHECKSUM[:16]}"
    with tarfile.open(release.archive()) as archive:
        assert archive.extractfile("bin/cloudflared").read() == BINARY


def test_a_brought_binary_with_another_sum_is_refused(tmp_path):
    binary = tmp_path / "anything"
    binary.write_bytes(BINARY)
    with pytest.raises(TunnelError, match="cloudflared_binary_sha256 says"):
        BroughtCloudflared(binary, "a" * 64)


def test_a_missing_brought_binary_is_named(tmp_path):
    with pytest.raises(TunnelError, match=r"cloudflared_binary_file .*/nowhere: cannot be read"):
        BroughtCloudflared(tmp_path / "nowhere")


def planted(cache, name, content, mode=0o755, member="bin/cloudflared"):
    """Plant an archive in the cache, as if another run had made it."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = cache / name
    with tarfile.open(path, "w:gz") as archive:
        for one in (member,) if isinstance(member, str) else member:
            info = tarfile.TarInfo(one)
            info.size, info.mode = len(content), mode
            archive.addfile(info, io.BytesIO(content))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "given",
    [
        {"content": b"\x7fELF hostile"},
        {"content": BINARY, "mode": 0o4755},
        {"content": BINARY, "member": "bin/../../cloudflared"},
        {"content": BINARY, "member": ("bin/cloudflared", "lib/more")},
        {"content": BINARY, "member": ()},
    ],
)
def test_an_archive_of_the_right_name_is_not_trusted(web, cache, given):
    name = f"cloudflared-{CHECKSUM}.tar.gz"
    planted(cache, name, **given)
    release = DownloadedCloudflared("2026.11.1", "x86_64", BASE, {"x86_64": CHECKSUM})
    with tarfile.open(release.archive()) as archive:
        (member,) = archive.getmembers()
        assert (member.name, member.mode) == ("bin/cloudflared", 0o755)
        assert archive.extractfile(member).read() == BINARY
    assert len(web) == 1


@pytest.mark.parametrize("cut", [0, 1, 20, 60, -1])
def test_an_archive_that_is_cut_off_is_made_anew(web, cache, cut):
    path = planted(cache, f"cloudflared-{CHECKSUM}.tar.gz", BINARY)
    path.write_bytes(path.read_bytes()[:cut])
    release = DownloadedCloudflared("2026.11.1", "x86_64", BASE, {"x86_64": CHECKSUM})
    with tarfile.open(release.archive()) as archive:
        assert archive.extractfile("bin/cloudflared").read() == BINARY


def test_a_brought_binary_that_changes_meanwhile_is_refused(tmp_path, cache):
    binary = tmp_path / "anything"
    binary.write_bytes(BINARY)
    release = BroughtCloudflared(binary, CHECKSUM)
    binary.write_bytes(b"\x7fELF hostile")
    with pytest.raises(TunnelError, match="has changed while it was read"):
        release.archive()
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_a_brought_binary_that_goes_meanwhile_is_named(tmp_path):
    binary = tmp_path / "anything"
    binary.write_bytes(BINARY)
    release = BroughtCloudflared(binary, CHECKSUM)
    binary.unlink()
    with pytest.raises(TunnelError, match="cannot be read on the controller"):
        release.archive()


def test_a_download_without_end_is_given_up(monkeypatch, cache):
    monkeypatch.setattr(cloudflared_release, "_LARGEST", 1 << 20)

    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return b"x" * size

    monkeypatch.setattr(cloudflared_release, "open_url", lambda url, timeout: Endless())
    with pytest.raises(TunnelError, match="it has more than 1048576 bytes"):
        DownloadedCloudflared("2026.10.0", "x86_64", BASE, {}).archive()
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize(
    "version", ["../../etc", "2026.10.0/..", "2026.10.0\n", "latest", "", "2026.٣"]
)
def test_what_is_no_version_becomes_no_url(version):
    with pytest.raises(TunnelError, match=r"cloudflared_version: .* is not a version"):
        DownloadedCloudflared(version, "x86_64", BASE, {"x86_64": CHECKSUM})


@pytest.mark.parametrize("checksum", ["../../etc/passwd", CHECKSUM + "\n", "a" * 63, 7])
def test_what_is_no_sum_names_no_file(checksum):
    with pytest.raises(TunnelError, match="is not a SHA-256"):
        DownloadedCloudflared("2026.11.1", "x86_64", BASE, {"x86_64": checksum})
