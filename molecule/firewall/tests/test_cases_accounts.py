"""Accounts whose number changes, or that share one: the kernel's rules know only numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import journal
import pytest
from replicas import HOSTS, play, shell, unquoted
from rules import SERVICES, changes_nothing, load_rules
from test_metrics import UNIT, scrape
from testinfra.host import Host
from trials import PROGRAM, TASKS, Attempt, made, place

NEW = {"mcp-proxy": 47110, "mcp-cloudflared": 47111}
METRIC = "accounts/wrong"
SSH: Attempt = ["SSH on loopback", "tcp", "127.0.0.1", 22]


@pytest.fixture(scope="module", autouse=True)
def placed() -> Iterator[None]:
    for name in HOSTS:
        place(shell(name))
    yield
    for name in HOSTS:
        shell(name).check_output(f"rm -f {PROGRAM} {TASKS}")


def renumber(host: Host, numbers: dict[str, int]) -> None:
    """Give accounts other numbers, as usermod does while none of their processes runs."""
    host.check_output(f"systemctl stop {' '.join(SERVICES)}")
    for user, number in numbers.items():
        host.check_output(f"usermod --uid {number} {user}")


def copied(host: Host) -> tuple[int, str]:
    """Let the timer's unit begin anew, whatever it is at; return its exit status and its log."""
    since = journal.moment(host)
    status = host.run(f"systemctl restart {UNIT}.service").rc
    return status, journal.read(host, f"--unit={UNIT}", f"--since={since}")


def outcomes(host: Host) -> set[str]:
    """Return the outcomes of a connection that neither service may begin."""
    return {made(host, user, [SSH])[SSH[0]] for user in NEW}


def test_other_numbers() -> None:
    hosts = {name: shell(name) for name in HOSTS}
    old = {
        name: {user: int(host.check_output(f"id --user {user}")) for user in NEW}
        for name, host in hosts.items()
    }
    for host in hosts.values():
        renumber(host, NEW)
        # Nothing holds the services any more.
        assert outcomes(host) == {"answered"}

    # The services do not run: there is nothing to wait for.
    looked = play("--extra-vars", "mcp_tunnel_health_timeout=5", playbook="verify")
    assert looked.returncode != 0, looked.stdout[-4000:]
    for name, host in hosts.items():
        status, log = copied(host)
        assert status != 0
        for user, number in NEW.items():
            said = f"{user} is user {number} on this host, and {old[name][user]} in the rules"
            assert said in unquoted(looked.stdout)
            assert f"{user} is user {number} on this host" in log

    healed = load_rules()
    assert all(counters["changed"] == 1 for counters in healed.values()), healed
    changes_nothing(load_rules())
    for host in hosts.values():
        assert copied(host)[0] == 0
        assert outcomes(host) == {"ECONNREFUSED"}

    for name, host in hosts.items():
        renumber(host, old[name])
    load_rules()
    for host in hosts.values():
        assert copied(host)[0] == 0
        host.check_output(f"systemctl start {' '.join(SERVICES)}")


def test_a_second_name(host: Host) -> None:
    number = host.check_output("id --user mcp-proxy")
    host.check_output(f"useradd --non-unique --uid {number} twin")
    try:
        looked = play("--limit", host.check_output("hostname"), playbook="verify")
        assert looked.returncode != 0, looked.stdout[-4000:]
        assert f"twin has the number of mcp-proxy, {number}" in unquoted(looked.stdout)
        assert "usermod --uid" in looked.stdout
        status, log = copied(host)
        assert status != 0
        assert "twin has the number of mcp-proxy" in log
        assert scrape(host)[METRIC] == 1
    finally:
        host.check_output("sed -i /^twin:/d /etc/passwd /etc/shadow")
    assert copied(host)[0] == 0
    assert scrape(host)[METRIC] == 0


@pytest.mark.parametrize("user", ["mcp-proxy", "ops"])
def test_numbers_that_somebody_changed_in_the_kernel(user: str) -> None:
    for name in HOSTS:
        shell(name).check_output(f"nft flush set inet mcp_tunnel account/{user}")
        status, log = copied(shell(name))
        assert status != 0
        assert f"{user} is user" in log
    healed = load_rules()
    assert [counters["changed"] for counters in healed.values()] == [1] * len(HOSTS)
    for name in HOSTS:
        listing = json.loads(
            shell(name).check_output(f"nft -n -j list set inet mcp_tunnel account/{user}")
        )
        held = next(item["set"]["elem"] for item in listing["nftables"] if "set" in item)
        assert held == [int(shell(name).check_output(f"id --user {user}"))]
