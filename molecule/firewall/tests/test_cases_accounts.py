"""Accounts whose number changes, or that share one: the kernel's rules know numbers alone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from replicas import HOSTS, play, shell
from rules import SERVICES, changes_nothing, settle
from test_metrics import UNIT, scrape
from testinfra.host import Host
from trials import PROGRAM, TASKS, Attempt, made, place

NEW = 47110
METRIC = "accounts/wrong"
SSH: Attempt = ["SSH on loopback", "tcp", "127.0.0.1", 22]


@pytest.fixture(scope="module", autouse=True)
def placed() -> Iterator[None]:
    for name in HOSTS:
        place(shell(name))
    yield
    for name in HOSTS:
        shell(name).check_output(f"rm -f {PROGRAM} {TASKS}")


def renumber(host: Host, user: str, number: int) -> None:
    """Give an account another number, as usermod does while none of its processes runs."""
    host.check_output(f"systemctl stop {' '.join(SERVICES)}")
    host.check_output(f"usermod --uid {number} {user}")


def copied(host: Host) -> tuple[int, str]:
    """What the timer's unit comes to, and what it says."""
    since = host.check_output("date +@%s.%N")
    status = host.run(f"systemctl start {UNIT}.service").rc
    return status, host.check_output(f"journalctl --unit {UNIT} --since {since} --output cat")


@pytest.mark.parametrize("user", ["mcp-proxy", "mcp-cloudflared", "ops"])
def test_another_number(user: str) -> None:
    hosts = {name: shell(name) for name in HOSTS}
    numbers = {name: int(host.check_output(f"id --user {user}")) for name, host in hosts.items()}
    for host in hosts.values():
        renumber(host, user, NEW)
    if user != "ops":
        # The attack: nothing holds the service any more.
        assert made(hosts[HOSTS[0]], user, [SSH]) == {SSH[0]: "answered"}

    looked = play(playbook="verify")
    assert looked.returncode != 0, looked.stdout[-4000:]
    for name, host in hosts.items():
        said = f"{user} is user {NEW} on this host, and {numbers[name]} in the rules"
        assert said in looked.stdout
        status, log = copied(host)
        assert status != 0
        assert f"{user} is user {NEW} on this host" in log

    healed = settle()
    assert all(counters["changed"] == 1 for counters in healed.values()), healed
    changes_nothing(settle())
    for host in hosts.values():
        assert copied(host)[0] == 0
    if user != "ops":
        assert made(hosts[HOSTS[0]], user, [SSH]) == {SSH[0]: "ECONNREFUSED"}

    for name, host in hosts.items():
        renumber(host, user, numbers[name])
    settle()
    repaired = play()
    assert repaired.returncode == 0, repaired.stdout[-4000:]


def test_a_second_name(host: Host) -> None:
    number = host.check_output("id --user mcp-proxy")
    host.check_output(f"useradd --non-unique --uid {number} twin")
    try:
        looked = play("--limit", host.check_output("hostname"), playbook="verify")
        assert looked.returncode != 0, looked.stdout[-4000:]
        assert f"twin has the number of mcp-proxy, {number}" in looked.stdout
        assert "usermod --uid" in looked.stdout
        status, log = copied(host)
        assert status != 0
        assert "twin has the number of mcp-proxy" in log
        assert scrape(host)[METRIC] == 1
    finally:
        host.check_output("sed -i /^twin:/d /etc/passwd /etc/shadow")
    assert copied(host)[0] == 0
    assert scrape(host)[METRIC] == 0


def test_numbers_that_somebody_changed_in_the_kernel(host: Host) -> None:
    host.check_output("nft flush set inet mcp_tunnel account/mcp-proxy")
    status, log = copied(host)
    assert status != 0
    assert "mcp-proxy is user" in log
    healed = settle("--limit", host.check_output("hostname"))
    assert [counters["changed"] for counters in healed.values()] == [1]
    listed = json.loads(host.check_output("nft -n -j list set inet mcp_tunnel account/mcp-proxy"))
    assert listed["nftables"][1]["set"]["elem"] == [int(host.check_output("id -u mcp-proxy"))]
