"""The order of our units at boot, beside the neighbours that other distributions have.

systemd breaks a cycle of orderings by deleting the job of a unit that takes part: at the next boot
something does not start, and nothing says so before. `systemd-analyze verify` queues the jobs of a
whole boot, and says which it would delete.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import jinja2
import pytest

ROLES = Path(__file__).resolve().parents[3] / "roles"
OURS = (
    "mcp-tunnel-firewall.service",
    "mcp-tunnel-firewall-counters.service",
    "mcp-tunnel-firewall-counters.timer",
    "mcp-tunnel-connections.service",
    "mcp-proxy@.service",
    "mcp-proxy@.socket",
    "mcp-cloudflared@.service",
)
SIGNING = "mcp-tunnel-signing-default.socket"
RENEWAL = ("renew-cert.service", "renew-cert.timer")
# These start at boot; the proxy's service wants its socket.
STARTED = (
    "mcp-tunnel-firewall.service",
    "mcp-tunnel-firewall-counters.timer",
    "mcp-tunnel-firewall-counters.service",
    "mcp-proxy@default.service",
    "mcp-proxy@default.socket",
    "mcp-cloudflared@default.service",
    "renew-cert.service",
    "renew-cert.timer",
    SIGNING,
)
EARLY = "DefaultDependencies=no\nConflicts=shutdown.target\nBefore=shutdown.target\n"
BEFORE_THE_NETWORK = "Wants=network-pre.target\nBefore=network-pre.target\n"
AFTER_SYSINIT = "Wants=network.target\nAfter=network-pre.target\nBefore=network.target\n"
# The orderings of these services, by distribution: unit -> directives, and the target that wants
# it. They follow the packages of 2026, in our words, without the commands.
NEIGHBOURS = {
    "Debian 11 to 13": {
        "nftables.service": (EARLY + BEFORE_THE_NETWORK, "sysinit"),
        "ufw.service": (
            "DefaultDependencies=no\nWants=local-fs.target\nAfter=local-fs.target\n"
            + BEFORE_THE_NETWORK,
            "multi-user",
        ),
        "netfilter-persistent.service": (
            EARLY + "Wants=local-fs.target\nAfter=local-fs.target\n" + BEFORE_THE_NETWORK,
            "multi-user",
        ),
        "networking.service": (
            "DefaultDependencies=no\nAfter=local-fs.target network-pre.target\n"
            "Before=network.target shutdown.target network-online.target\nWants=network.target\n",
            "multi-user",
        ),
    },
    "RHEL 9": {
        "nftables.service": (BEFORE_THE_NETWORK, "multi-user"),
        "NetworkManager.service": (AFTER_SYSINIT + "After=dbus.socket\n", "multi-user"),
        "NetworkManager-wait-online.service": (
            "Requires=NetworkManager.service\nAfter=NetworkManager.service\n"
            "Before=network-online.target\n",
            "network-online",
        ),
    },
    "RHEL 9, firewalld": {
        "firewalld.service": (
            BEFORE_THE_NETWORK + "After=dbus.socket\n"
            "Conflicts=iptables.service ip6tables.service nftables.service\n",
            "multi-user",
        ),
        "NetworkManager.service": (AFTER_SYSINIT + "After=dbus.socket\n", "multi-user"),
    },
    "RHEL, iptables-services": {
        "iptables.service": (BEFORE_THE_NETWORK, "multi-user"),
        "ip6tables.service": (BEFORE_THE_NETWORK + "After=iptables.service\n", "multi-user"),
    },
    "Ubuntu": {
        "nftables.service": (EARLY + BEFORE_THE_NETWORK, "sysinit"),
        "ufw.service": (
            "DefaultDependencies=no\nWants=local-fs.target\nAfter=local-fs.target\n"
            + BEFORE_THE_NETWORK,
            "multi-user",
        ),
        # The stages of cloud-init; the second one needs the network, and is early all the same.
        "cloud-init-local.service": (
            EARLY + BEFORE_THE_NETWORK + "After=systemd-remount-fs.service\n"
            "RequiresMountsFor=/var/lib/cloud\nBefore=sysinit.target\n",
            "multi-user",
        ),
        "cloud-init.service": (
            EARLY + "After=cloud-init-local.service systemd-networkd.service\n"
            "Before=network-online.target sysinit.target\n",
            "multi-user",
        ),
    },
}
SERVICE = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"


def place(folder: Path, name: str, text: str, wanted_by: str = "") -> None:
    (folder / name).write_text(text)
    if wanted_by:
        wants = folder / f"{wanted_by}.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / name).symlink_to(f"../{name}")


def ours(folder: Path) -> None:
    """Write our units as they are on a host, except for their commands."""
    sources = [path for path in ROLES.glob("*/files/*") if path.name in OURS]
    assert sorted(path.name for path in sources) == sorted(OURS)
    sources += [ROLES / f"proxy/templates/{name}.j2" for name in RENEWAL]
    for source in sources:
        text = re.sub(r"(?m)^(Exec\w+)=.*", r"\1=/bin/true", source.read_text())
        if source.suffix == ".j2":
            text = text.replace("%i", "default")
        place(folder, source.name.removesuffix(".j2"), text)
    socket = jinja2.Template((ROLES / "proxy/templates/signing.socket.j2").read_text())
    text = socket.render(mcp_tunnel_plan={"instance": "default"}, __proxy_renewal_signs=False)
    place(folder, SIGNING, text, "sockets")
    place(folder, SIGNING.replace(".socket", "@.service"), SERVICE)
    for name, options in (
        ("mcp-proxy@default.socket", "[Socket]\nListenStream=127.0.0.1:8080\n"),
        ("nftables.service", (ROLES / "firewall/files/nftables.conf").read_text()),
    ):
        (folder / f"{name}.d").mkdir()
        place(folder / f"{name}.d", "mcp-tunnel.conf", options)


def deleted_at_boot(folder: Path) -> list[str]:
    """Return systemd's messages about cycles when all of these units start with the machine."""
    wants = f"[Unit]\nRequires=multi-user.target\nWants={' '.join(STARTED)}\n"
    place(folder, "boot.target", wants)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "boot.target"],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr.splitlines()
    assert not [line for line in said if "not found" in line or "Failed" in line], done.stderr
    return [line for line in said if "cycle" in line]


@pytest.mark.parametrize("neighbours", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_every_unit_starts_at_boot(tmp_path, neighbours):
    ours(tmp_path)
    for name, (directives, target) in neighbours.items():
        place(tmp_path, name, f"[Unit]\n{directives}{SERVICE}", target)
    assert deleted_at_boot(tmp_path) == []


def test_a_cycle_would_be_seen(tmp_path):
    """Our unit wants to come after a service that starts after the others."""
    ours(tmp_path)
    place(tmp_path, "late.service", f"[Unit]\n{SERVICE}", "multi-user")
    dropin = tmp_path / "mcp-tunnel-firewall.service.d"
    dropin.mkdir()
    place(dropin, "late.conf", "[Unit]\nAfter=late.service\n")
    assert "mcp-tunnel-firewall.service" in "\n".join(deleted_at_boot(tmp_path))
