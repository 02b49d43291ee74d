"""firewall_host_policy: strict. Every opening works, in both families, and nothing else does.

Both hosts get their rules once; then packets ask the questions, and the receiver answers them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from attempts import SUCCESSES
from replicas import CHECKOUT, HOSTS, LAB, LAB_NAME, RUN, lab, play, shell
from rules import RULES, SERVICES, UNIT, changes_nothing, load_rules, table
from testinfra.host import Host
from trials import (
    EVERYBODY,
    NOBODY,
    PROGRAM,
    Attempt,
    made,
    made_from,
    marks,
    place,
    who_may_ping,
    write,
)
from wire import wire

NEIGHBOUR, NEIGHBOUR6 = LAB["neighbour"]["address"], LAB["neighbour"]["address6"]
V4, V6 = LAB["internet"]["address"], LAB["internet"]["address6"]
# The controller and the resolver are here.
GATEWAY, GATEWAY6 = "10.77.0.1", "fd77::1"
API, METADATA = "10.77.0.3", "169.254.169.254"

SINKS, ARRIVED = "/opt/sinks.py", "/run/arrived"

STRICT: dict[str, Any] = {
    "firewall_host_policy": "strict",
    "firewall_ssh_sources": [GATEWAY, "fd77::/125"],
    # The last one stands for a resolver on the host itself, which asks others.
    "firewall_resolvers": [GATEWAY, GATEWAY6, "127.0.0.53"],
    "firewall_api_networks": [API, V6],
    "firewall_inbound": [
        {"protocol": "tcp", "ports": [9100, 9101], "networks": [NEIGHBOUR, NEIGHBOUR6]},
        {"protocol": "udp", "ports": [161], "networks": [NEIGHBOUR]},
    ],
    "firewall_outbound": [
        {"protocol": "tcp", "ports": [443], "networks": [NEIGHBOUR, NEIGHBOUR6]},
        {"protocol": "udp", "ports": [443, 4433], "networks": [V4], "user": "ops"},
    ],
}

AT_ONCE = {"mcp_tunnel_batch": "100%"}

# Attempts on a host, by user: first those that are open, then those that are shut.
OPEN: dict[str, list[Attempt]] = {
    "root": [
        ["NTP", "udp", V4, 123],
        ["NTP, IPv6", "udp", V6, 123],
        ["question of a resolver", "resolve", V4, "udp"],
        ["DHCP", "udp", GATEWAY, 67, 68],
        ["DHCP, IPv6", "udp", GATEWAY6, 547, 546],
        ["named", "tcp", NEIGHBOUR, 443],
        ["named, IPv6", "tcp", NEIGHBOUR6, 443],
    ],
    "ops": [
        ["resolver", "resolve", GATEWAY, "udp"],
        ["resolver, TCP", "resolve", GATEWAY, "tcp"],
        ["resolver, IPv6", "resolve", GATEWAY6, "udp"],
        ["named for every user", "tcp", NEIGHBOUR, 443],
        ["named for this user", "udp", V4, 443],
        ["where nobody listens", "udp", V4, 4433],
    ],
    "mcp-proxy": [["upstream", "tcp", "10.77.0.2", 8000]],
}
SHUT: dict[str, list[Attempt]] = {
    "root": [
        ["web", "tcp", V4, 443],
        ["SSH, IPv6", "tcp", V6, 22],
        ["not as a DHCP client", "udp", GATEWAY, 67],
        ["not as a DHCP client, IPv6", "udp", GATEWAY6, 547],
        ["another port of the API", "tcp", API, 80],
        ["another port of the named one", "tcp", NEIGHBOUR, 80],
        ["named for another user", "udp", V4, 443],
    ],
    "ops": [
        ["foreign resolver", "resolve", V4, "udp"],
        ["foreign resolver, IPv6", "resolve", V6, "tcp"],
        ["NTP of an ordinary user", "udp", V4, 123],
        ["API of an ordinary user", "tcp", API, 443],
        ["metadata of an ordinary user", "tcp", METADATA, 80],
    ],
    # The host's named destinations are not open to the services.
    "mcp-proxy": [
        ["named, but not for services", "tcp", NEIGHBOUR, 443],
        ["question of a resolver, by a service", "resolve", V4, "udp"],
        ["NTP of a service", "udp", V4, 123],
    ],
}
PROVISIONING: list[Attempt] = [
    ["API", "tcp", API, 443],
    ["API, IPv6", "tcp", V6, 443],
    ["metadata", "tcp", METADATA, 80],
]


@pytest.fixture(scope="module", autouse=True)
def strict() -> Iterator[None]:
    """The playbook that operators run deploys it, with the gate, on both hosts at once."""
    done = play("--extra-vars", json.dumps({**STRICT, **AT_ONCE}))
    assert done.returncode == 0, done.stdout[-4000:]
    for name in HOSTS:
        place(shell(name))
        write(shell(name), SINKS, (CHECKOUT / "lab/network/sinks.py").read_text())
    who_may_ping("neighbour", EVERYBODY)
    yield
    who_may_ping("neighbour", NOBODY)
    for name in HOSTS:
        shell(name).check_output(f"rm -f {PROGRAM} {SINKS} {ARRIVED}")
    # The whole playbook runs: the units name the resolvers, too.
    done = play("--extra-vars", json.dumps(AT_ONCE))
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_policy_is_there(host: Host) -> None:
    for chain in ("host_input", "host_forward", "host_output"):
        assert "policy drop" in host.check_output(f"nft list chain inet mcp_tunnel {chain}")


def test_a_second_run_changes_nothing() -> None:
    changes_nothing(load_rules(**STRICT))


def test_services_begin_anew_and_a_tool_is_called() -> None:
    for name in HOSTS:
        shell(name).check_output(f"systemctl restart {' '.join(SERVICES)}")
    looked = play("--extra-vars", json.dumps(STRICT), playbook="verify")
    assert looked.returncode == 0, looked.stdout
    assert "strictly" in lab("call", LAB_NAME, "echo", "echo", '{"text": "strictly"}')


def test_what_is_let_out(name: str, host: Host) -> None:
    may_provision = name == HOSTS[0]
    before = counted(host, "host/out_refused")
    with wire(name) as seen:
        outcomes = {user: made(host, user, [*OPEN[user], *SHUT[user]]) for user in OPEN}
        provisioning = made(host, "root", PROVISIONING)
        packets = seen.packets()
    expected = {
        **{mark: True for user in OPEN for mark in marks(OPEN[user]).values()},
        **{mark: False for user in SHUT for mark in marks(SHUT[user]).values()},
        **dict.fromkeys(marks(PROVISIONING).values(), may_provision),
    }
    found = {mark: mark in packets for mark in expected}
    assert found == expected, (outcomes, provisioning)
    assert counted(host, "host/out_refused") > before
    # The refusal comes at once, not as an answer that never arrives.
    refused = {user: {each[0]: outcomes[user][each[0]] for each in SHUT[user]} for user in SHUT}
    assert "no answer" not in json.dumps(refused)
    # An ICMP error reports this.
    assert outcomes["ops"]["where nobody listens"] == "ECONNREFUSED"
    assert {provisioning[each] in SUCCESSES for each in provisioning} == {may_provision}


# Place, attempt, and whether it arrives. The host's address takes the place of HOST and so on.
INBOUND: list[tuple[str, Attempt, bool]] = [
    ("neighbour", ["named", "tcp", "HOST", 9100], True),
    ("neighbour", ["named, the other port", "tcp", "HOST", 9101], True),
    ("neighbour", ["named, IPv6", "tcp", "HOST6", 9100], True),
    ("neighbour", ["named, a datagram", "udp", "HOST", 161], True),
    ("neighbour", ["DHCP", "udp", "HOST", 68, 67], True),
    ("neighbour", ["DHCP, IPv6", "udp", "LINK", 546, 547], True),
    ("neighbour", ["a port that is not named", "tcp", "HOST", 9102], False),
    ("neighbour", ["a port that is not named, IPv6", "tcp", "HOST6", 9102], False),
    ("neighbour", ["a datagram that is not named, IPv6", "udp", "HOST6", 161], False),
    ("neighbour", ["not as a DHCP server", "udp", "HOST", 68, 1067], False),
    ("neighbour", ["not from the link", "udp", "HOST6", 546, 547], False),
    ("bridge", ["named for somebody else", "tcp", "HOST", 9100], False),
    ("bridge", ["named for somebody else, IPv6", "tcp", "HOST6", 9100], False),
]
SSH: list[tuple[str, Attempt, bool]] = [
    ("bridge", ["SSH", "tcp", "HOST", 22], True),
    ("bridge", ["SSH, IPv6", "tcp", "HOST6", 22], True),
    ("neighbour", ["SSH of a neighbour", "tcp", "HOST", 22], False),
    ("neighbour", ["SSH of a neighbour, IPv6", "tcp", "HOST6", 22], False),
]


def arrivals(name: str, cases: list[tuple[str, Attempt, bool]]) -> dict[str, str]:
    """Make the attempts at a host, each from its place; return their outcomes."""
    places = addresses(name)
    outcomes: dict[str, str] = {}
    for where in ("neighbour", "bridge"):
        attempts = [
            [places.get(each, each) if isinstance(each, str) else each for each in attempt]
            for place, attempt, _ in cases
            if place == where
        ]
        outcomes.update(made_from(where, attempts))
    return outcomes


def addresses(name: str) -> dict[str, str]:
    entry = LAB["hosts"][HOSTS.index(name)]
    last = int(entry["address"].rsplit(".", 1)[1])
    # The kernel makes it from the hardware's address in this way.
    link = f"fe80::77:ff:fe00:{last:x}%eth0"
    return {"HOST": entry["address"], "HOST6": entry["address6"], "LINK": link}


@contextmanager
def sinks(name: str) -> Iterator[Host]:
    """A host that accepts and notes everything that comes."""
    host, at = shell(name), addresses(name)
    places = [
        *(
            f"tcp:{address}:{port}"
            for address in ("0.0.0.0", "[::]")
            for port in (9100, 9101, 9102)
        ),
        *("udp:0.0.0.0:68", "udp:[::]:546", f"udp:{at['HOST']}:161", f"udp:[{at['HOST6']}]:161"),
    ]
    listen = " ".join(f"--listen {each}" for each in places)
    pid = host.check_output(
        f"python3 {SINKS} {listen} >{ARRIVED} 2>&1 & echo $!;"
        f" until grep -q listening {ARRIVED}; do sleep 0.1; done"
    )
    try:
        yield host
    finally:
        host.check_output(f"kill {pid}")


def counted(host: Host, counter: str) -> int:
    """Return the packets of a counter."""
    listing = json.loads(host.check_output(f"nft --json list counter inet mcp_tunnel {counter}"))
    return int(listing["nftables"][1]["counter"]["packets"])


def test_what_is_let_in(name: str) -> None:
    before = counted(shell(name), "host/in_refused")
    with sinks(name) as host:
        outcomes = arrivals(name, INBOUND)
        arrived = host.check_output(f"cat {ARRIVED}")
    expected = {attempt[0]: arrives for _, attempt, arrives in INBOUND}
    assert {each: f"attempt:{each}|" in arrived for each in expected} == expected, outcomes
    assert counted(host, "host/in_refused") > before


def test_who_reaches_ssh(name: str) -> None:
    outcomes = arrivals(name, SSH)
    reaches = {attempt[0]: outcomes[attempt[0]] == "answered" for _, attempt, _ in SSH}
    assert reaches == {attempt[0]: arrives for _, attempt, arrives in SSH}


@pytest.mark.parametrize("family", ["HOST", "HOST6"])
def test_neighbours_find_each_other_and_may_ping(name: str, family: str) -> None:
    """They have forgotten everything about each other before."""
    forget = ("ip", "neigh", "flush", "all")
    address = addresses(name)[family]
    shell(name).check_output(" ".join(forget))
    lab("net", LAB_NAME, "exec", "neighbour", *forget)
    assert made_from("neighbour", [["ping", "ping", address]]) == {"ping": "answered"}
    # Now the other way round.
    lab("net", LAB_NAME, "exec", "neighbour", *forget)
    shell(name).check_output(" ".join(forget))
    peer = NEIGHBOUR6 if family == "HOST6" else NEIGHBOUR
    assert made(shell(name), "root", [["named", "tcp", peer, 443]]) == {"named": "answered"}


def test_nothing_is_forwarded(name: str) -> None:
    """Not even a host that would be a router forwards."""
    host, beyond = shell(name), "203.0.113.99"
    route = ("ip", "route", "replace", beyond, "via", addresses(name)["HOST"])
    lab("net", LAB_NAME, "exec", "neighbour", *route)
    routes(name, 1)
    attempt: Attempt = ["through", "udp", beyond, 443]
    try:
        with wire(name) as seen:
            made_from("neighbour", [attempt])
            assert marks([attempt])["through"] not in seen.packets()
        assert counted(host, "host/forward_refused") > 0
        host.check_output("nft insert rule inet mcp_tunnel host_forward accept")
        with wire(name) as seen:
            made_from("neighbour", [attempt])
            assert marks([attempt])["through"] in seen.packets()
    finally:
        host.check_output(f"systemctl reload {UNIT}")
        routes(name, 0)
        lab("net", LAB_NAME, "exec", "neighbour", "ip", "route", "delete", beyond)


def routes(name: str, switch: int) -> None:
    """Make a host a router that advises nobody of another way, or a plain host again."""
    advice = [f"net.ipv4.conf.{each}.send_redirects={1 - switch}" for each in ("all", "eth0")]
    # This is done from outside, because a host's own /proc is read-only.
    sysctl = ("sysctl", "-qw", f"net.ipv4.ip_forward={switch}", *advice)
    lab("net", LAB_NAME, "exec", name, *sysctl)


@pytest.mark.parametrize("family", ["HOST", "HOST6"])
def test_a_connection_that_is_older_than_the_rules_goes_on(name: str, family: str) -> None:
    """Nothing followed connections when it began; the host is the next one to send something."""
    before = table(shell(name))
    shell(name).check_output("nft delete table inet mcp_tunnel")
    address = f"HostName={addresses(name)[family]}"
    load = f"sudo nft -f {RULES} && echo on"
    done = subprocess.run(
        [
            *("ssh", "-F", str(RUN / "ssh_config"), "-o", "ControlPath=none", "-o", address),
            *("-o", "ServerAliveInterval=0", name, load),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "on\n"
    assert table(shell(name)) == before
