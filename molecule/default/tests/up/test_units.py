"""The services as systemd reports them, not as their files say."""

from __future__ import annotations

import pytest
from exposure import all_are_hardened, measured
from testinfra.host import Host

SERVICES = ["mcp-proxy", "mcp-cloudflared"]
# The highest overall exposure, as systemd-analyze prints it.
EXPOSURE = {"mcp-proxy": 1.0, "mcp-cloudflared": 1.0}
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
    "LimitCORE": "0",
    "MemorySwapMax": "0",
}
# systemd accepts limits everywhere; the kernel of a laboratory may not enforce them.
UNLIMITED = {"", "infinity", "[not set]", str(2**64 - 1)}
OURS = [
    *(f"{service}@default" for service in SERVICES),
    "mcp-tunnel-firewall",
    "mcp-tunnel-firewall-counters",
    "mcp-tunnel-connections",
]
#: The sockets below /run that each service may connect to.
SPEAKS_TO = {
    "mcp-proxy": {"/run/systemd/notify", "/run/mcp-proxy-default/control.sock"},
    "mcp-cloudflared": set(),
}
# Connects to each of the sockets and prints those that let it.
CONNECT = """
import socket, sys
for path in sys.argv[1:]:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as sock:
            try:
                sock.connect(path)
            except OSError:
                continue
            print(path)
"""


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
    (exposure,) = measured(host, f"{service}@default.service").values()
    assert exposure <= EXPOSURE[service]


def test_every_service_is_hardened(host: Host) -> None:
    all_are_hardened(host, *OURS)


@pytest.mark.parametrize("unit", OURS)
def test_nothing_is_without_a_limit(host: Host, unit: str) -> None:
    shown = properties(host, unit)
    for limit in ("MemoryMax", "TasksMax"):
        assert shown[limit] not in UNLIMITED, limit
    assert shown["LimitCORE"] == "0"


def test_one_process_too_large_is_not_the_end_of_all(host: Host) -> None:
    assert properties(host, "mcp-proxy@default")["OOMPolicy"] == "continue"


@pytest.mark.parametrize("service", SERVICES)
def test_what_the_service_can_write_it_cannot_run(host: Host, service: str) -> None:
    pid = properties(host, f"{service}@default")["MainPID"]
    inside = f"nsenter --target {pid} --mount -- "
    places = ["/tmp", "/var/tmp", "/dev/shm"]
    places += ["/run/mcp-proxy-default"] if service == "mcp-proxy" else []
    for place in places:
        program = f"{place}/program"
        host.check_output(f"{inside}cp /usr/bin/true {program}")
        try:
            done = host.run(f"{inside}{program}")
            assert (done.rc, "Permission denied" in done.stderr) == (126, True), place
        finally:
            host.check_output(f"{inside}rm {program}")
    assert host.run(f"{inside}/usr/bin/true").rc == 0
    # The unit cannot write where it can run programs, whatever the permissions of the files say.
    for place in ("/usr/bin", "/usr/lib", "/opt/mcp-tunnel", "/run/lock"):
        assert "Read-only" in host.run(f"{inside}touch {place}/program").stderr, place


@pytest.mark.parametrize("service", SERVICES)
def test_no_other_service_is_in_reach(host: Host, service: str) -> None:
    pid = properties(host, f"{service}@default")["MainPID"]
    user = host.user(service)
    found = host.check_output("ss -Hxa").splitlines()
    sockets = {line.split()[4] for line in found if line.split()[4].startswith("/run/")}
    assert {"/run/dbus/system_bus_socket", "/run/systemd/notify"} <= sockets
    reached = host.check_output(
        f"nsenter --target {pid} --mount --setuid {user.uid} --setgid {user.gid}"
        f" -- /usr/bin/python3 -c %s {' '.join(sorted(sockets))}",
        CONNECT,
    )
    assert set(reached.split()) == SPEAKS_TO[service]


def test_the_connector_has_no_unix_sockets(host: Host) -> None:
    families = properties(host, "mcp-cloudflared@default")["RestrictAddressFamilies"]
    assert set(families.split()) == {"AF_INET", "AF_INET6"}


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
    # To stop the unit never opens anything.
    assert shown.get("ExecStop", "") == ""
