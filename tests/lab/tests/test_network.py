"""The lab's network: complete inside, closed to the outside, its names those of the world."""

from __future__ import annotations

import struct
import time

import pytest
from lab.addresses import EDGE_ADDRESSES, EDGE_REGIONS
from lab.tests.support import RunningLab

A, TXT, AAAA, SRV = 1, 16, 28, 33

_ASK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
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
        f'socket.create_connection(("{address}", {port}), 3); print("connected")\' 2>&1 | tail -1'
    )


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
    began = time.monotonic()
    refused = two.on("host1", _connect(address, 853))
    assert "Network is unreachable" in refused or "No route to host" in refused
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("region", EDGE_REGIONS)
def test_regions_have_two_addresses_of_each_family(two: RunningLab, region: str) -> None:
    assert ask(two, region, A)[:2] == (0, 2)
    assert ask(two, region, AAAA)[:2] == (0, 2)


def test_service_record_names_both_regions(two: RunningLab) -> None:
    code, answers, reply = ask(two, "_v2-origintunneld._tcp.argotunnel.com", SRV)
    assert (code, answers) == (0, 2)
    assert reply.count(struct.pack(">H", 7844)) == 2


def test_protocol_record_steers_to_http2(two: RunningLab) -> None:
    code, answers, reply = ask(two, "protocol-v2.argotunnel.com", TXT)
    assert (code, answers) == (0, 1)
    assert b'[{"protocol":"http2","percentage":100}]' in reply


def test_features_record_is_an_object(two: RunningLab) -> None:
    assert ask(two, "cfd-features.argotunnel.com", TXT)[:2] == (0, 1)


@pytest.mark.parametrize("kind", [A, AAAA, TXT, SRV])
def test_other_names_do_not_exist(two: RunningLab, kind: int) -> None:
    began = time.monotonic()
    assert ask(two, "www.anthropic.com", kind)[:2] == (3, 0)
    assert time.monotonic() - began < 1


def test_hosts_ask_that_resolver(two: RunningLab) -> None:
    assert two.on("host2", "getent ahostsv4 region1.v2.argotunnel.com").startswith("198.41.192.")
    assert two.on("host2", "getent hosts example.com; echo status $?") == "status 2"
