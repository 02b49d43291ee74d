"""The services as systemd reports them, not as their files say."""

from __future__ import annotations

import pytest
from testinfra.host import Host

SERVICES = ["mcp-proxy", "mcp-cloudflared"]
# Overall exposure as systemd-analyze prints it: at most.
EXPOSURE = {"mcp-proxy": 1.2, "mcp-cloudflared": 1.5}
EFFECTIVE = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RestrictNamespaces": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
}


def properties(host: Host, unit: str) -> dict[str, str]:
    shown = host.check_output(f"systemctl show --all {unit}")
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


@pytest.mark.parametrize("service", SERVICES)
def test_runs_and_will_run_after_a_boot(host: Host, service: str) -> None:
    unit = host.service(f"{service}@default")
    assert unit.is_running
    assert unit.is_enabled
    shown = properties(host, f"{service}@default")
    assert shown["NRestarts"] == "0"
    assert shown["NeedDaemonReload"] == "no"


@pytest.mark.parametrize("service", SERVICES)
def test_is_hardened_in_effect(host: Host, service: str) -> None:
    shown = properties(host, f"{service}@default")
    for key, value in EFFECTIVE.items():
        assert shown[key] == value, key
    assert shown["User"] == service
    assert shown["SystemCallFilter"]
    score = host.check_output(
        f"systemd-analyze security --no-pager {service}@default.service | tail -n 1"
    )
    exposure = float(score.split("level for", 1)[1].split(":", 1)[1].split()[0])
    assert exposure <= EXPOSURE[service], score


@pytest.mark.parametrize("service", SERVICES)
def test_every_process_is_its_own_user(host: Host, service: str) -> None:
    group = properties(host, f"{service}@default")["ControlGroup"]
    pids = host.check_output(
        "cat /sys/fs/cgroup%s/cgroup.procs 2>/dev/null"
        " || cat /sys/fs/cgroup/systemd%s/cgroup.procs",
        group,
        group,
    ).split()
    assert pids
    for pid in pids:
        status = host.check_output(f"cat /proc/{pid}/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        uid = host.user(service).uid
        assert set(fields["Uid"].split()) == {str(uid)}
        assert int(fields["CapEff"], 16) == 0
        assert fields["NoNewPrivs"].strip() == "1"
        assert fields["Seccomp"].strip() == "2"


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_can_log_in_as_the_user(host: Host, service: str) -> None:
    user = host.user(service)
    assert user.exists
    assert user.shell in {"/usr/sbin/nologin", "/sbin/nologin", "/bin/false"}
    assert user.uid < 1000
    assert host.check_output(f"getent shadow {service}").split(":")[1].startswith(("!", "*"))


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_without_rules(host: Host, service: str) -> None:
    shown = properties(host, f"{service}@default")
    assert "mcp-tunnel-firewall.service" in shown["Requires"].split()
    assert "mcp-tunnel-firewall.service" in shown["After"].split()
    assert host.service("mcp-tunnel-firewall").is_enabled
    assert host.run("nft list table inet mcp_tunnel").succeeded


def test_the_rules_are_loaded_before_the_network(host: Host) -> None:
    shown = properties(host, "mcp-tunnel-firewall")
    assert "network-pre.target" in shown["Before"].split()
    # Stopping it never opens anything.
    assert shown.get("ExecStop", "") == ""
