"""Audit mode counts and logs everything that it would refuse, and lets it through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from attempts import SUCCESSES
from replicas import HOSTS, LAB, play, shell, unquoted
from rules import load_rules
from testinfra.host import Host
from trials import PROGRAM, TASKS, Attempt, made, place

V4, NEIGHBOUR, METADATA = LAB["internet"]["address"], LAB["neighbour"]["address"], "169.254.169.254"
#: User to attempts, each with the counter that it moves when it is judged.
ATTEMPTS: dict[str, list[tuple[Attempt, str]]] = {
    "mcp-cloudflared": [
        (["web", "tcp", V4, 443], "cloudflared/refused"),
        (["neighbour's resolver", "udp", NEIGHBOUR, 53], "cloudflared/refused"),
    ],
    "mcp-proxy": [
        (["web", "tcp", V4, 443], "proxy/refused"),
        (["foreign resolver", "udp", V4, 53], "proxy/refused"),
        (["metadata", "tcp", METADATA, 80], "proxy/metadata"),
    ],
    "daemon": [
        (["listener", "tcp", "127.0.0.1", 8080], "others/listener/default"),
        (["admin", "tcp", "127.0.0.1", 8081], "others/admin/default"),
    ],
}
LOGGED = ("cloudflared/logged", "proxy/logged", "others/logged")
STRICT: dict[str, Any] = {"firewall_host_policy": "strict", "firewall_ssh_sources": ["10.77.0.1"]}


@pytest.fixture(scope="module", autouse=True)
def audited() -> Iterator[None]:
    for name in HOSTS:
        place(shell(name))
    load_rules(firewall_audit=True)
    yield
    load_rules()
    for name in HOSTS:
        shell(name).check_output(f"rm -f {PROGRAM} {TASKS}")


def counted(host: Host) -> dict[str, int]:
    """Return the packets of every counter of the host's table."""
    listing = json.loads(host.check_output("nft --json list counters table inet mcp_tunnel"))
    found = (item["counter"] for item in listing["nftables"] if "counter" in item)
    return {counter["name"]: counter["packets"] for counter in found}


def outcomes(host: Host) -> dict[str, str]:
    """Make all attempts; return their outcomes."""
    return {
        f"{user}: {name}": outcome
        for user, attempts in ATTEMPTS.items()
        for name, outcome in made(host, user, [attempt for attempt, _ in attempts]).items()
    }


def test_everything_is_let_through_and_counted(host: Host) -> None:
    before = counted(host)
    found = outcomes(host)
    # The health server takes this for the start of a request, waits in silence for the rest, and
    # hangs up; who is faster depends on the machine.
    assert found.pop("daemon: admin") in {"no answer", "answered"}
    assert {what for what, outcome in found.items() if outcome not in SUCCESSES} == set(), found
    after = counted(host)
    expected = {counter for attempts in ATTEMPTS.values() for _, counter in attempts}
    assert {counter for counter in expected if after[counter] <= before[counter]} == set()
    # Only a few a minute are logged: there has been one since the rules were loaded.
    assert {counter for counter in LOGGED if not after[counter]} == set()


def test_verify_says_so() -> None:
    done = play(playbook="verify")
    assert done.returncode == 0, done.stdout[-4000:]
    assert unquoted(done.stdout).count("firewall_audit: what would be refused is counted") == len(
        HOSTS
    )


def test_strict_counts_only_as_well() -> None:
    load_rules(firewall_audit=True, **STRICT)
    for name in HOSTS:
        host = shell(name)
        before = counted(host)
        assert set(made(host, "daemon", [["web", "tcp", V4, 443]]).values()) <= SUCCESSES
        assert counted(host)["host/out_refused"] > before["host/out_refused"]


def test_without_it_the_same_is_refused(host: Host) -> None:
    load_rules("--limit", host.check_output("hostname"))
    found = outcomes(host)
    assert SUCCESSES.union({"no answer"}).isdisjoint(found.values()), found
