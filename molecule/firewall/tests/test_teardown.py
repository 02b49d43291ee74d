"""The end: everybody else's rules are as before, and nothing of ours is left. Comes last."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from replicas import HOSTS, play, recap, shell
from rules import UNIT

CONFIRMED = ("-e", "mcp_tunnel_teardown_confirmed=true")
# Somebody else's table, with a counter that moves.
FOREIGN = """\
table inet mcp {
    set peers { type ipv4_addr; flags interval; elements = { 10.77.0.0/24 } }
    chain output {
        type filter hook output priority filter - 10; policy accept;
        ip daddr @peers accept comment "theirs"
    }
}
"""
TRACES = (
    "find / -xdev ( -name '*mcp-tunnel*' -o -name '*mcp_tunnel*' -o -path /etc/nftables.d"
    " -o -path /etc/systemd/system/nftables.service.d ) -print"
)


@pytest.fixture(scope="module")
def before() -> Iterator[dict[str, str]]:
    """The rulesets of hosts with firewalld and somebody else's table, as they are without ours."""
    found = {}
    for name in HOSTS:
        host = shell(name)
        host.check_output("systemctl start firewalld && firewall-cmd --state")
        host.check_output("echo %s | nft -f -", FOREIGN)
        host.check_output("nft delete table inet mcp_tunnel")
        found[name] = host.check_output("nft list ruleset")
        host.check_output(f"systemctl reload {UNIT}")
        assert "table inet mcp_tunnel" in host.check_output("nft list ruleset")
    yield found
    for name in HOSTS:
        shell(name).check_output("nft delete table inet mcp && systemctl stop firewalld")


def test_foreign_rules_are_the_same_to_the_byte(before: dict[str, str]) -> None:
    done = play(*CONFIRMED, playbook="teardown")
    assert done.returncode == 0, done.stdout[-4000:]
    assert {name: shell(name).check_output("nft list ruleset") for name in HOSTS} == before
    assert "table inet firewalld" in before[HOSTS[0]]


def test_no_file_and_no_unit_is_left(name: str) -> None:
    host = shell(name)
    assert host.check_output(TRACES.replace("(", "\\(").replace(")", "\\)")) == ""
    units = host.check_output("systemctl list-units --all --no-legend 'mcp-*' || true")
    assert units == ""
    assert "mcp-tunnel" not in host.check_output("systemctl cat nftables")


def test_a_second_one_changes_nothing(before: dict[str, str]) -> None:
    done = play(*CONFIRMED, playbook="teardown")
    assert done.returncode == 0, done.stdout[-4000:]
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values())
    assert {name: shell(name).check_output("nft list ruleset") for name in HOSTS} == before
