"""The lab's network: complete inside, closed to the outside, with the world's names."""

from __future__ import annotations

import json
import struct
import subprocess

import pytest

from lab.network.addresses import EDGE_ADDRESSES, EDGE_REGIONS
from lab.tests.support import PATIENCE, RunningLab, lab, lab_command

A, TXT, AAAA, SRV = 1, 16, 28, 33

_ASK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
s.sendto(bytes.fromhex(sys.argv[1]), ("10.77.0.1", 53))
print(s.recv(4096).hex())
"""


def ask(lab: RunningLab, name: str, kind: int) -> tuple[int, int, bytes]:
    """Asks the lab's resolver from within its network: (response code, answers, raw reply)."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    query = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + question + struct.pack(">BHH", 0, kind, 1)
    reply = bytes.fromhex(lab.inside("python3", "-c", _ASK, query.hex()))
    return reply[3] & 0x0F, struct.unpack(">H", reply[6:8])[0], reply


def _connect(address: str, port: int) -> str:
    return (
        "python3 -c 'import socket; "
        f'socket.create_connection(("{address}", {port}), 60); print("connected")\' 2>&1 | tail -1'
    )


_REFUSAL = """python3 -c '
import socket
try:
    socket.create_connection(("{}", 853), 60)
except OSError as error:
    print(error)
'"""


def test_hosts_reach_each_other_in_both_families(two: RunningLab) -> None:
    assert two.on("host1", _connect("10.77.0.12", 22)) == "connected"
    assert two.on("host2", _connect("fd77::11", 22)) == "connected"


@pytest.mark.parametrize("address", EDGE_ADDRESSES)
def test_the_edges_addresses_are_there(two: RunningLab, address: str) -> None:
    """A port without a listener answers with a reset: the address is alive."""
    assert "ConnectionRefusedError" in two.on("host1", _connect(address, 9))


@pytest.mark.parametrize("address", ["1.1.1.1", "169.254.170.2", "2606:4700:4700::1111"])
def test_nothing_else_can_be_reached_and_that_is_known_at_once(
    two: RunningLab, address: str
) -> None:
    refused = two.on("host1", _REFUSAL.format(address))
    assert "Network is unreachable" in refused or "No route to host" in refused
    # The error is a refusal: a neighbour that does not answer gives the same one, after 3 s.
    silent = two.on("host1", "ip neigh show nud incomplete nud failed").splitlines()
    assert not {address, "10.77.0.1", "fd77::1"} & {line.split()[0] for line in silent}


@pytest.mark.parametrize("region", EDGE_REGIONS)
def test_regions_have_two_addresses_of_each_family(two: RunningLab, region: str) -> None:
    assert ask(two, region, A)[:2] == (0, 2)
    assert ask(two, region, AAAA)[:2] == (0, 2)


def test_service_record_names_both_regions(two: RunningLab) -> None:
    code, answers, reply = ask(two, "_v2-origintunneld._tcp.argotunnel.com", SRV)
    assert (code, answers) == (0, 2)
    assert reply.count(struct.pack(">H", 7844)) == 2


def test_protocol_record_says_quic_first(two: RunningLab) -> None:
    code, answers, reply = ask(two, "protocol-v2.argotunnel.com", TXT)
    assert (code, answers) == (0, 1)
    assert b'{"protocol":"quic","percentage":100}' in reply


def test_features_record_is_an_object(two: RunningLab) -> None:
    assert ask(two, "cfd-features.argotunnel.com", TXT)[:2] == (0, 1)


@pytest.mark.parametrize("kind", [A, AAAA, TXT, SRV])
def test_other_names_do_not_exist(two: RunningLab, kind: int) -> None:
    assert ask(two, "www.anthropic.com", kind)[:2] == (3, 0)


def test_hosts_ask_that_resolver(two: RunningLab) -> None:
    assert two.on("host2", "getent ahostsv4 region1.v2.argotunnel.com").startswith("198.41.192.")
    assert two.on("host2", "getent hosts example.com; echo status $?") == "status 2"


def test_the_resolver_answers_in_both_families(two: RunningLab) -> None:
    for address in ("10.77.0.1", "fd77::1"):
        assert two.on("host1", _connect(address, 53)) == "connected"


_SEND = """
import socket, sys
protocol, host, port, text = sys.argv[1:]
kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
s.settimeout(60)
s.connect((host, int(port)))
s.send(text.encode())
print(s.recv(100).decode(), s.getsockname()[0])
"""

#: Sinks that a firewall's tests rely on: owner -> protocol, address, port.
_SINKS = [
    ("neighbour", "tcp", "10.77.0.9", 443),
    ("neighbour", "udp", "fd77::9", 7844),
    ("internet", "tcp", "203.0.113.7", 7844),
    ("internet", "udp", "2001:db8:113::7", 53),
    ("internet", "tcp", "198.41.192.107", 22),
    ("internet", "udp", "198.41.192.107", 7844),
    ("internet", "tcp", "2606:4700:a0::107", 443),
    ("bridge", "tcp", "10.77.0.2", 9000),
    ("bridge", "tcp", "fd77::2", 8443),
    ("bridge", "tcp", "fd00:ec2::254", 80),
]


@pytest.mark.parametrize(("where", "protocol", "address", "port"), _SINKS)
def test_sinks_note_what_comes_and_send_it_back(
    two: RunningLab, where: str, protocol: str, address: str, port: int
) -> None:
    text = f"{protocol}-{address}-{port}"
    answer = two.on("host2", f"python3 -c '{_SEND}' {protocol} {address} {port} {text}")
    host = "fd77::12" if ":" in address else "10.77.0.12"
    assert answer == f"{text} {host}"
    noted = [
        entry
        for line in (two.paths.logs / f"sinks-{where}.log").read_text().splitlines()
        if (entry := json.loads(line)).get("data") == text
    ]
    at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    assert [(e["protocol"], e["at"], e["peer"].rpartition(":")[0]) for e in noted] == [
        (protocol, at, host)
    ]


@pytest.mark.parametrize(
    ("where", "source4", "source6"),
    [
        ("neighbour", "10.77.0.9", "fd77::9"),
        ("internet", "203.0.113.7", "2001:db8:113::7"),
        ("bridge", "10.77.0.1", "fd77::2"),
        ("host1", "10.77.0.11", "fd77::11"),
    ],
)
def test_a_program_runs_at_any_place(
    two: RunningLab, where: str, source4: str, source6: str
) -> None:
    for address, source in (("10.77.0.12", source4), ("fd77::12", source6)):
        status, said = lab(
            *("net", two.paths.name, "exec", where, "python3", "-c", _SEND),
            *("tcp", address, "22", "hello\n"),
        )
        assert status == 0, said
        assert said.startswith("SSH-2.0-")
        assert said.split()[-1] == source


def test_the_bridge_sees_what_leaves_a_host(two: RunningLab) -> None:
    dump = lab_command(
        *("net", two.paths.name, "exec", "bridge", "tcpdump", "-n", "-l", "-i", "br0", "-c", "2"),
        *("udp", "port", "7844", "and", "host", "10.77.0.9"),
        stderr=subprocess.STDOUT,
    )
    assert dump.stdout is not None
    while "listening on br0" not in dump.stdout.readline():
        pass
    two.on("host1", f"python3 -c '{_SEND}' udp 10.77.0.9 7844 x")
    said, _ = dump.communicate(timeout=PATIENCE)
    assert "> 10.77.0.9.7844: UDP" in said
    assert "10.77.0.9.7844 > 10.77.0.11." in said


def test_the_bridge_keeps_its_address(two: RunningLab) -> None:
    """A bridge has the lowest address of its ports unless it has been given one.

    Hosts remember the gateway's address, and would not reach it for a while after one of them has
    got a new port, as at each of its boots.
    """

    def on_bridge(*command: str) -> str:
        status, said = lab("net", two.paths.name, "exec", "bridge", "ip", *command)
        assert status == 0, said
        return said

    before = on_bridge("link", "show", "br0").split("link/ether ")[1].split()[0]
    low = ("low", "address", "02:00:00:00:00:01")
    on_bridge("link", "add", *low, "type", "veth", "peer", "name", "lower")
    try:
        on_bridge("link", "set", "low", "master", "br0", "up")
        assert f"link/ether {before} " in on_bridge("link", "show", "br0")
    finally:
        on_bridge("link", "delete", "low")


def test_addresses_of_the_link_are_those_of_lab_json(two: RunningLab) -> None:
    facts = json.loads(two.paths.facts.read_text())
    for where, entry in [("neighbour", facts["neighbour"]), ("host2", facts["hosts"][1])]:
        address = entry["link_local"]
        said = lab("net", two.paths.name, "exec", where, "ip", "-6", "address", "show", "eth0")[1]
        assert f"inet6 {address}/64 scope link" in said


def test_a_resolvers_client_that_stays_keeps_nobody_waiting(two: RunningLab) -> None:
    stays = (
        "import socket, subprocess\n"
        's = socket.create_connection(("10.77.0.1", 53))\n'
        'print(subprocess.run(["getent", "hosts", "region1.v2.argotunnel.com"]).returncode)'
    )
    assert two.on("host1", f"timeout 120 python3 -c '{stays}' | tail -1") == "0"


def test_a_place_that_is_none_is_named(two: RunningLab) -> None:
    status, said = lab("net", two.paths.name, "exec", "moon", "true")
    assert status == 1
    assert "no place 'moon' in its network: it has bridge, neighbour, internet, host1" in said
