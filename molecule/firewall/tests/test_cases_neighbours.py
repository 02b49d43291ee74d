"""Other programs with rules on the same host: neither they nor we touch the other's rules."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from replicas import LAB_NAME, lab, shell
from rules import HOSTS, UNIT, foreign, load_rules, table
from testinfra.host import Host
from trials import write

# Our rules refuse this; nobody else's rules on the hosts do.
FORBIDDEN = (
    "setpriv --reuid=mcp-proxy --clear-groups python3 -c"
    " 'import socket; socket.create_connection((\"10.77.0.4\", 443), 60)'"
)


def enforced(host: Host, rules: str) -> None:
    """Assert that our rules are the same as before, and work as before."""
    assert table(host) == rules
    assert "ConnectionRefusedError" in host.run(FORBIDDEN).stderr


def works() -> None:
    """Assert that a tool can be called through the tunnel."""
    assert "still" in lab("call", LAB_NAME, "echo", "echo", json.dumps({"text": "still"}))


def test_the_neighbourhood_is_open(host: Host) -> None:
    """Without this, the other tests would prove nothing: an ordinary user may connect there."""
    host.check_output(FORBIDDEN.replace("mcp-proxy", "ops"))
    assert foreign(host) == ""


@pytest.fixture
def nftables(host: Host) -> Iterator[Host]:
    yield host
    host.check_output("systemctl stop nftables")


def test_the_distributions_own_service(nftables: Host) -> None:
    host = nftables
    rules = table(host)
    for verb in ("start", "reload", "restart", "stop", "start"):
        host.check_output(f"systemctl {verb} nftables")
        enforced(host, rules)
    theirs = foreign(host)
    assert "table inet filter" in theirs
    works()
    host.check_output(f"systemctl reload {UNIT}")
    assert foreign(host) == theirs


def test_files_that_include_ours(nftables: Host) -> None:
    """The administrator's file includes it on many hosts, and is loaded by hand, too."""
    host = nftables
    rules = table(host)
    host.check_output("cp /etc/nftables.conf /root/nftables.conf")
    try:
        for pattern in ("*.nft", "*"):
            own = f'flush ruleset\ntable inet own {{ }}\ninclude "/etc/nftables.d/{pattern}"\n'
            write(host, "/etc/nftables.conf", own)
            host.check_output("nft -f /etc/nftables.conf")
            enforced(host, rules)
        host.check_output("systemctl restart nftables")
        assert "table inet own" in foreign(host)
        enforced(host, rules)
    finally:
        host.check_output(
            "mv /root/nftables.conf /etc/nftables.conf && nft flush ruleset"
            f" && systemctl reload {UNIT}"
        )


@pytest.fixture
def firewalld(host: Host) -> Iterator[Host]:
    # The answer comes when everything is loaded.
    host.check_output("systemctl start firewalld && firewall-cmd --state")
    yield host
    host.check_output("systemctl stop firewalld")


def test_firewalld(firewalld: Host) -> None:
    host, rules = firewalld, table(firewalld)
    enforced(host, rules)
    for command in (
        "firewall-cmd --reload",
        "firewall-cmd --complete-reload",
        "systemctl restart firewalld && firewall-cmd --state",
    ):
        host.check_output(command)
        enforced(host, rules)
    theirs = foreign(host)
    assert "table inet firewalld" in theirs
    works()
    host.check_output(f"systemctl reload {UNIT}")
    assert foreign(host) == theirs


@pytest.fixture
def ufw(host: Host) -> Iterator[Host]:
    host.check_output("ufw allow 22/tcp && ufw --force enable")
    yield host
    host.check_output("ufw --force disable && ufw --force reset")
    # It leaves its empty chains behind.
    host.check_output(
        "nft list tables | grep -v mcp_tunnel | while read -r each; do nft delete $each; done"
    )


def test_ufw(ufw: Host) -> None:
    host, rules = ufw, table(ufw)
    enforced(host, rules)
    host.check_output("ufw reload")
    enforced(host, rules)
    theirs = foreign(host)
    assert "ufw" in theirs
    works()
    host.check_output(f"systemctl reload {UNIT}")
    assert foreign(host) == theirs


def test_a_run_leaves_foreign_tables_alone() -> None:
    """The playbook loads changed rules beside a table of somebody else's."""
    for name in HOSTS:
        shell(name).check_output(
            "nft 'table inet mcp { chain c { type filter hook output priority 0; }; }'"
        )
    theirs = {name: foreign(shell(name)) for name in HOSTS}
    try:
        changed = load_rules(firewall_resolvers=["10.77.0.1", "10.77.0.53"])
        assert all(counters["changed"] for counters in changed.values())
        assert {name: foreign(shell(name)) for name in HOSTS} == theirs
    finally:
        for name in HOSTS:
            shell(name).check_output("nft delete table inet mcp")
        load_rules()
