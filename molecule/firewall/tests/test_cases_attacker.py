"""An attacker who takes the proxy over gets no further than the unit's sandbox and the rules allow.

An ordinary user makes the same attempts first, which proves that each would get out.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from attempts import SUCCESSES
from replicas import HOSTS, LAB, shell
from rules import table
from testinfra.host import Host
from trials import (
    EVERYBODY,
    NOBODY,
    PROGRAM,
    TASKS,
    Attempt,
    command,
    made,
    marks,
    place,
    who_may_ping,
    write,
)
from wire import BRIDGE, wire

OUTCOMES = "/run/attempts.out"
# An instance of the shipped unit, with the deployed one's drop-in: only the program differs.
UNIT = "mcp-proxy@attacker.service"
DROPIN = f"/run/systemd/system/{UNIT}.d"
DEPLOYED = "/etc/systemd/system/mcp-proxy@default.service.d/10-instance.conf"
OVERRIDE = f"""\
[Service]
Type=oneshot
Restart=no
WatchdogSec=0
ExecStart=
ExecStart=/usr/bin/python3 {PROGRAM}
StandardInput=file:{TASKS}
StandardOutput=append:{OUTCOMES}
"""
# The same for its socket unit: a socket for each attempt, at the port of the deployed one.
SOCKET = UNIT.replace(".service", ".socket")
SOCKET_DROPIN = f"/run/systemd/system/{SOCKET}.d"
WAYS = ("shutdown", "disconnect", "fast open", "fast open, by connect")
SETUID, CAPABLE = "/opt/setuid-python", "/opt/capable-python"
# cap_net_admin and cap_net_raw, permitted and effective, as setcap(8) writes them.
SETCAP = """\
import os, struct, sys
os.setxattr(sys.argv[1], "security.capability", struct.pack("<5I", 0x02000001, 0x3000, 0, 0, 0))
"""
UNTRACKED = """\
table inet untracked {
    chain output { type filter hook output priority raw; oifname "lo" tcp sport 8080 notrack; }
}
"""
SHELL_PORT = 4444
LISTENS = f"ss -Hltn 'sport = {SHELL_PORT}' | grep -q ."

V4, V6 = LAB["internet"]["address"], LAB["internet"]["address6"]
NEIGHBOUR, NEIGHBOUR6 = LAB["neighbour"]["address"], LAB["neighbour"]["address6"]
UDP_LITE, SCTP = 136, 132

ANOTHER_USERS_FLOW: Attempt = ["flow of another user", "udp", V4, 53, 40680]
# Each would leave a packet on the wire.
PACKETS: list[Attempt] = [
    ["web", "tcp", V4, 443],
    ["web, IPv6", "tcp", V6, 443],
    ["web, as a mapped address", "tcp", f"::ffff:{V4}", 443],
    ["fast open", "fast_open", V4, 443],
    ["datagram", "udp", V4, 443],
    ["datagram, IPv6", "udp", V6, 443],
    ["tunnel in questions", "resolve", V4, "udp"],
    ["tunnel in questions, TCP", "resolve", V4, "tcp"],
    ["tunnel in questions, IPv6", "resolve", V6, "udp"],
    ["tunnel in questions to a neighbour", "resolve", NEIGHBOUR, "udp"],
    ["neighbour", "tcp", NEIGHBOUR, 443],
    ["neighbour, IPv6", "tcp", NEIGHBOUR6, 443],
    ["everybody on the link", "broadcast", "10.77.0.255", 9999],
    ["everybody on the link, IPv6", "broadcast", "ff02::1", 9999],
    ["a group", "broadcast", "239.1.2.3", 9999],
    ["metadata", "tcp", "169.254.169.254", 80],
    ["metadata, IPv6", "tcp", "fd00:ec2::254", 80],
    ["metadata, as a datagram", "udp", "169.254.169.254", 80],
    ["another port of an upstream", "tcp", "10.77.0.2", 9000],
    ["an upstream's port, as a datagram", "udp", "10.77.0.2", 8000],
    # This flow was answered just before, and connection tracking knows it as established.
    ANOTHER_USERS_FLOW,
    ["ping", "ping", V4],
    ["ping, IPv6", "ping", V6],
    ["root of a user namespace", "namespace", V4, 443],
]
# Other programs on the host, which could pass data on.
LOCAL: list[Attempt] = [
    ["SSH on loopback", "tcp", "127.0.0.1", 22],
    ["SSH on loopback, IPv6", "tcp", "::1", 22],
]
# Kinds of socket that let their owner make packets of their own.
RAW: list[Attempt] = [
    ["raw", "opened", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW],
    ["raw ICMP", "opened", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP],
    ["raw, IPv6", "opened", socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW],
    ["raw, as root of a user namespace", "raw_in_namespace"],
]
# Families that no network service needs.
FAMILIES: list[Attempt] = [
    [name, "opened", number, kind]
    for name, number, kind in (
        ("packet", socket.AF_PACKET, socket.SOCK_RAW),
        ("packet, cooked", socket.AF_PACKET, socket.SOCK_DGRAM),
        ("netlink", socket.AF_NETLINK, socket.SOCK_RAW),
        ("vsock", 40, socket.SOCK_STREAM),
        ("crypto", 38, socket.SOCK_SEQPACKET),
        ("bluetooth", 31, socket.SOCK_RAW),
        ("can", 29, socket.SOCK_RAW),
        ("tipc", 30, socket.SOCK_DGRAM),
        ("rds", 21, socket.SOCK_SEQPACKET),
        ("xdp", 44, socket.SOCK_RAW),
        ("smc", 43, socket.SOCK_STREAM),
        ("qrtr", 42, socket.SOCK_DGRAM),
    )
]
# Attempts from the proxy's listening sockets, which systemd has opened.
HANDED: list[Attempt] = [
    # Each has another address: from one port, there is only one connection to each.
    *(
        [f"SSH, {way}", "handed", number, way, f"127.0.0.{number + 1}", 22]
        for number, way in enumerate(WAYS)
    ),
    ["SSH at an address of the host", "handed", len(WAYS), "shutdown", "{address}", 22],
]
NO_CLIENT = "this kernel makes no client of a socket that has listened"
# A socket that has a port keeps it.
REBOUND: Attempt = ["rebound", "handed", len(HANDED), "another port", "127.0.0.1", 22]
HELPERS: list[Attempt] = [
    ["setuid root", "helper", SETUID, "udp", V4, 443],
    ["file capabilities", "helper", CAPABLE, *RAW[0][1:]],
]
COMMANDS: list[Attempt] = [
    ["remove the rules", "command", "/usr/sbin/nft", "delete", "table", "inet", "mcp_tunnel"],
    ["stop the firewall", "command", "/usr/bin/systemctl", "stop", "mcp-tunnel-firewall"],
    ["become root", "command", "/usr/bin/sudo", "-n", "true"],
]


@pytest.fixture(scope="module", autouse=True)
def victims() -> Iterator[None]:
    """Hosts with the program, and with what a careless administrator leaves behind."""
    for name in HOSTS:
        host = shell(name)
        place(host)
        write(host, "/run/attacker.conf", OVERRIDE)
        host.check_output(
            f"mkdir -p {DROPIN} && cp {DEPLOYED} /run/attacker.conf {DROPIN}/"
            f" && install -m 4755 $(readlink -f /usr/bin/python3) {SETUID}"
            f" && install -m 0755 $(readlink -f /usr/bin/python3) {CAPABLE}"
            " && systemctl daemon-reload"
        )
        host.check_output("python3 -c %s %s", SETCAP, CAPABLE)
        who_may_ping(name, EVERYBODY)
    yield
    for name in HOSTS:
        who_may_ping(name, NOBODY)
        files = (DROPIN, PROGRAM, TASKS, OUTCOMES, SETUID, CAPABLE, "/run/attacker.conf")
        shell(name).check_output(f"rm -rf {' '.join(files)} && systemctl daemon-reload")


def inside(host: Host, *attempts: Attempt) -> dict[str, str]:
    """Make the attempts in the sandbox of the proxy's unit; return their outcomes."""
    write(host, TASKS, json.dumps(attempts))
    host.check_output(f"rm -f {OUTCOMES}; systemctl start {UNIT}")
    said = host.check_output(f"systemctl stop {SOCKET} {UNIT}; cat {OUTCOMES}")
    return dict(json.loads(said))


def test_an_ordinary_user_gets_all_of_it_out(name: str, host: Host) -> None:
    with wire(name) as seen:
        outcomes = made(host, "ops", [*PACKETS, *LOCAL])
        packets = seen.packets()
    hidden = [each for each, mark in marks(PACKETS).items() if mark not in packets]
    assert hidden == [], outcomes
    assert [each for each, *_ in LOCAL if outcomes[each] != "answered"] == []


def test_out_of_the_sandbox(name: str, host: Host) -> None:
    rules = table(host)
    made(host, "ops", [ANOTHER_USERS_FLOW])
    with wire(name) as seen:
        outcomes = inside(host, *PACKETS, *LOCAL, *RAW, *FAMILIES, *HELPERS, *COMMANDS)
        packets = seen.packets()
    assert packets == ""
    assert {each for each in outcomes if outcomes[each] in SUCCESSES} == set()
    # The sandbox itself refuses them; this kernel lacks nothing.
    assert {outcomes[each] for each, *_ in FAMILIES} == {"EAFNOSUPPORT"}
    assert {outcomes[each] for each, *_ in RAW} == {"EPERM"}
    assert outcomes["root of a user namespace"] == "EPERM"
    assert table(host) == rules


def test_without_the_sandbox(name: str, host: Host) -> None:
    """The rules alone refuse somebody with the proxy's user who is not in its unit."""
    rules = table(host)
    made(host, "ops", [ANOTHER_USERS_FLOW])
    with wire(name) as seen:
        outcomes = made(host, "mcp-proxy", [*PACKETS, *LOCAL, *RAW, *FAMILIES[:2], *COMMANDS])
        packets = seen.packets()
    assert packets == ""
    assert {each for each in outcomes if outcomes[each] in SUCCESSES} == set()
    assert table(host) == rules


@pytest.fixture
def handed(name: str, host: Host) -> Iterator[list[Attempt]]:
    """The attempts that need a socket of systemd's, and the sockets."""
    unit = ["[Unit]", "StartLimitIntervalSec=0"]  # it fails whenever a test takes its sockets away
    lines = [*unit, "[Socket]", *["ListenStream=127.0.0.1:8080"] * (len(HANDED) + 1), ""]
    host.check_output(f"mkdir -p {SOCKET_DROPIN}")
    write(host, f"{SOCKET_DROPIN}/attacker.conf", "\n".join(lines))
    host.check_output("systemctl daemon-reload")
    address = LAB["hosts"][HOSTS.index(name)]["address"]
    yield [
        [part.format(address=address) if isinstance(part, str) else part for part in attempt]
        for attempt in HANDED
    ]
    host.check_output(f"systemctl stop {SOCKET}; rm -r {SOCKET_DROPIN}; systemctl daemon-reload")


def test_out_of_a_listening_socket(host: Host, handed: list[Attempt]) -> None:
    """The rules know it by its port, as the kernel takes the user of such a socket for root."""
    with lifted(host):
        outcomes = inside(host, *handed)
    if not listeners_connect():
        assert set(outcomes.values()) == {"EINVAL"}, outcomes
        pytest.skip(f"not proven: {NO_CLIENT}")
    assert {each for each in outcomes if outcomes[each] != "answered"} == set(), outcomes
    before = counted(host, "listeners/refused/default")
    outcomes = inside(host, *handed, REBOUND)
    assert outcomes.pop("rebound") == "EINVAL"
    assert set(outcomes.values()) == {"ECONNREFUSED"}, outcomes
    assert counted(host, "listeners/refused/default") == before + len(handed)


def test_out_of_a_listening_socket_that_is_not_tracked(host: Host, handed: list[Attempt]) -> None:
    """Somebody has taken loopback out of connection tracking."""
    host.check_output("nft -f - <<'END'\n" + UNTRACKED + "END")
    try:
        outcomes = inside(host, *handed)
    finally:
        host.check_output("nft delete table inet untracked")
    if not listeners_connect():
        assert set(outcomes.values()) == {"EINVAL"}, outcomes
        pytest.skip(f"not proven: {NO_CLIENT}")
    assert set(outcomes.values()) == {"ECONNREFUSED"}, outcomes


def listeners_connect() -> bool:
    """Whether the kernel makes a client of a socket that has listened. Some refuse that."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.listen()
        client.shutdown(socket.SHUT_RD)
        return client.connect_ex(server.getsockname()) == 0


@contextmanager
def lifted(host: Host) -> Iterator[None]:
    """A host whose output is not judged."""
    rule = "rule inet mcp_tunnel output"
    said = host.check_output(f"nft --echo --handle insert {rule} accept")
    try:
        yield
    finally:
        host.check_output(f"nft delete {rule} handle {said.rpartition('# handle ')[2].split()[0]}")


def counted(host: Host, counter: str) -> int:
    """Return the packets that a counter of the table has seen."""
    listing = json.loads(host.check_output(f"nft --json list counter inet mcp_tunnel {counter}"))
    return next(
        int(item["counter"]["packets"]) for item in listing["nftables"] if "counter" in item
    )


@pytest.mark.parametrize(
    ("protocol", "kind", "number"),
    [
        ("SCTP", socket.SOCK_STREAM, SCTP),
        ("UDP-Lite", socket.SOCK_DGRAM, UDP_LITE),
    ],
)
def test_other_transports(name: str, host: Host, protocol: str, kind: int, number: int) -> None:
    attempt = ["other transport", "transport", V4, 443, kind, number]
    with wire(name) as seen:
        if made(host, "ops", [attempt])["other transport"] == "EPROTONOSUPPORT":
            pytest.skip(f"not proven: this kernel has no {protocol}")
        assert f"> {V4}" in seen.packets()
    with wire(name) as seen:
        outcomes = (inside(host, attempt), made(host, "mcp-proxy", [attempt]))
        assert seen.packets() == "", outcomes


def test_a_bind_shell_answers_nobody(name: str, host: Host) -> None:
    listens = ["shell", "shell", SHELL_PORT]
    assert knocked(host, name, command(host, "ops", [listens])) == "connected"
    with wire(name) as seen:
        start = f"systemctl start {UNIT}; cat {OUTCOMES}"
        assert knocked(host, name, start) != "connected"
        assert seen.packets() == ""


def knocked(host: Host, name: str, start: str) -> str:
    """Start a shell, and connect from the LAN once it listens; return the outcome."""
    address = LAB["hosts"][HOSTS.index(name)]["address"]
    host.check_output(f"({start}) >/dev/null 2>&1 & until {LISTENS}; do sleep 0.1; done")
    knock = (
        "import socket, sys\n"
        "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 10); print('connected')\n"
        "except OSError as error: print(error)"
    )
    done = subprocess.run(
        [*BRIDGE, sys.executable, "-c", knock, address, str(SHELL_PORT)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    host.check_output(f"systemctl stop {UNIT}; while {LISTENS}; do sleep 0.1; done")
    return done.stdout.strip()
