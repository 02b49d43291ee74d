"""Owners and modes: who can read a secret, who can change what runs."""

from __future__ import annotations

import pytest
from replicas import HOSTS, shell
from testinfra.host import Host

INSTANCE = "/etc/mcp-tunnel/default"


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/etc/mcp-tunnel", "root", "root", 0o755),
        (f"{INSTANCE}/proxy.yaml", "root", "mcp-proxy", 0o640),
        (f"{INSTANCE}/tls", "root", "mcp-proxy", 0o750),
        (f"{INSTANCE}/tls/tls.key", "root", "mcp-proxy", 0o640),
        (f"{INSTANCE}/tls/tls.crt", "root", "mcp-proxy", 0o640),
        (f"{INSTANCE}/tunnel-token", "root", "root", 0o600),
        (f"{INSTANCE}/cloudflared.env", "root", "root", 0o644),
        ("/opt/mcp-tunnel", "root", "root", 0o755),
        ("/etc/nftables.d/mcp-tunnel.nft", "root", "root", 0o644),
        ("/etc/nftables.d/mcp-tunnel.d/default.nft", "root", "root", 0o644),
        ("/var/lib/mcp-tunnel-firewall", "root", "root", 0o700),
    ],
)
def test_owner_and_mode(host: Host, path: str, owner: str, group: str, mode: int) -> None:
    file = host.file(path)
    assert (file.user, file.group, oct(file.mode)) == (owner, group, oct(mode))


def test_nothing_that_runs_is_writable_by_a_service(host: Host) -> None:
    writable = host.check_output(
        "find /opt/mcp-tunnel /etc/mcp-tunnel /etc/nftables.d /etc/systemd/system"
        " -not -type l \\( -not -user root -o -perm /022 \\)"
    )
    assert writable == ""


def test_no_temporary_or_pending_file_is_left(host: Host) -> None:
    # A release's tree may hold any name; the directories of the deployment keep only final names.
    names = host.check_output(
        "find /etc/mcp-tunnel /var/lib/mcp-tunnel -type f 2>/dev/null || true"
    ).splitlines()
    assert names
    known = {
        "proxy.yaml", "cloudflared.env", "tunnel-token", "tls.crt", "tls.key", "ca.crt", "ca.key",
        "tunnel-id", "tunnel-domain",
    }  # fmt: skip
    strange = [name for name in names if name.rsplit("/", 1)[1] not in known]
    assert [name for name in strange if "tmp" in name or "pending" in name] == []


def test_state_exists_on_one_host_only() -> None:
    holders = [name for name in HOSTS if shell(name).file("/var/lib/mcp-tunnel/default").exists]
    assert len(holders) == 1
    state = shell(holders[0])
    assert oct(state.file("/var/lib/mcp-tunnel/default").mode) == oct(0o700)
    for secret in ("ca.key", "tunnel-token"):
        file = state.file(f"/var/lib/mcp-tunnel/default/{secret}")
        assert (file.user, oct(file.mode)) == ("root", oct(0o600))


def test_every_replica_has_a_key_of_its_own() -> None:
    keys = {
        shell(name).check_output(
            "openssl x509 -in /etc/mcp-tunnel/default/tls/tls.crt -noout -pubkey"
        )
        for name in HOSTS
    }
    assert len(keys) == len(HOSTS)
