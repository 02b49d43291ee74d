"""Check mode on bare hosts leaves nothing behind: no file is newer than the scenario's marker."""

from __future__ import annotations

from testinfra.host import Host

MARKER = "/run/scenario-began"  # written by create.yml when the hosts had just booted
# Paths that a login and a running system write by themselves.
NOISE = ("/var/log", "/var/lib/systemd", "/var/lib/sudo", "/var/lib/dbus", "/var/cache")


def test_nothing_was_written(host: Host) -> None:
    assert host.file(MARKER).exists
    pruned = " -o ".join(f"-path {path}" for path in NOISE)
    changed = host.check_output(
        f"find / -xdev \\( {pruned} \\) -prune -o -cnewer {MARKER} -print"
    ).splitlines()
    # Ansible's own working directories, empty again.
    allowed = {
        *("/home/ops", "/home/ops/.ansible", "/home/ops/.ansible/tmp"),
        *("/root", "/root/.ansible", "/root/.ansible/tmp"),
        *("/tmp", "/var/tmp"),
    }
    assert [path for path in changed if path not in allowed] == []


def test_no_user_no_unit(host: Host) -> None:
    assert not host.user("mcp-proxy").exists
    assert not host.user("mcp-cloudflared").exists
    assert host.check_output("systemctl list-unit-files --no-legend 'mcp-*' || true") == ""
