"""Input that would open a host, or close it for good, is refused before anything changes.

The message has the remedy. Every rule is tested in full with the modules; these tests show what an
operator sees, and that the deployed replicas stay as they were.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from replicas import HOSTS, LAB, play, recap, shell, unquoted

# Everything that a run could have changed or restarted.
STATE = """
nft --stateless list ruleset
find /etc /opt/mcp-tunnel /var/lib/mcp-tunnel* -printf '%p %y %m %u %g %s %T@ %l\\n' | sort
systemctl show --property=Id,ActiveState,MainPID,ActiveEnterTimestampMonotonic \
    mcp-proxy@default mcp-cloudflared@default mcp-tunnel-firewall
"""
OPENING = {"protocol": "tcp", "ports": [443], "networks": ["203.0.113.0/24"]}
NOWHERE = "mcp_tunnel_routes['echo']"


@pytest.fixture(autouse=True)
def nothing_changes() -> Iterator[None]:
    """Compare every host before and after the test."""
    before = {name: shell(name).check_output(STATE) for name in HOSTS}
    yield
    for name in HOSTS:
        assert shell(name).check_output(STATE) == before[name], name
    assert "table inet mcp_tunnel" in before[HOSTS[0]]


def refused(values: dict[str, Any], *arguments: str) -> str:
    """Run the play with the values; return its output. It must stop in preflight."""
    done = play("--diff", "--extra-vars", json.dumps(values), *arguments)
    assert done.returncode != 0, done.stdout
    assert "PLAY [Ship the releases]" not in done.stdout
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values()), done.stdout
    return unquoted((done.stdout + done.stderr).replace("\\n", " "))


def routed(upstream: str) -> dict[str, Any]:
    return {"mcp_tunnel_routes": {"echo": upstream}}


VALUES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "an edge range that is no network": (
        {"mcp_tunnel_edge_networks": ["198.41.192.0/33"]},
        ("mcp_tunnel_edge_networks: '198.41.192.0/33' is not a network", "Write it like"),
    ),
    "an edge range that is an address in it": (
        {"mcp_tunnel_edge_networks": ["198.41.192.7/19"]},
        ("mcp_tunnel_edge_networks:", "which is 198.41.192.0/19", "Write it like"),
    ),
    "an upstream outside allowed_ips": (
        routed("http://203.0.113.7:8000"),
        (
            f"{NOWHERE}: 203.0.113.7 is in none of 10.0.0.0/8",
            "Add its network to proxy_allowed_ips",
        ),
    ),
    "the metadata address": (
        {**routed("http://169.254.169.254:80"), "proxy_allowed_ips": ["169.254.0.0/16"]},
        (f"{NOWHERE}: 169.254.169.254 is a cloud's metadata address", "Route to an MCP server"),
    ),
    "a resolver that is no address": (
        {"firewall_resolvers": ["10.77.0.1:53"]},
        ("firewall_resolvers: '10.77.0.1:53' is not an address", "without a port"),
    ),
    "strict without a source of SSH": (
        {"firewall_host_policy": "strict"},
        (
            "firewall_ssh_sources: is needed with firewall_host_policy: strict",
            "List the networks from which SSH is allowed",
        ),
    ),
    "a policy that is not there": (
        {"firewall_host_policy": "paranoid"},
        ("firewall_host_policy: is 'paranoid'. Use one of none, strict",),
    ),
    "a user that could be a rule": (
        {"firewall_admin_users": ['root"; accept; #']},
        ("firewall_admin_users:", "is not the name of a user", "Give the name"),
    ),
    "an opening without networks": (
        {"firewall_inbound": [{"protocol": "tcp", "ports": [443]}]},
        ("firewall_inbound[0]: networks must be given", "Write for example {protocol: tcp"),
    ),
    "an opening for a service": (
        {"firewall_outbound": [{**OPENING, "user": "mcp-proxy"}]},
        ("firewall_outbound[0]: mcp-proxy is the user of a service", "Name users of your own"),
    ),
    "a time that is none": (
        {"firewall_rollback_timeout": "1m"},
        ("firewall_rollback_timeout: '1m' is not a whole number of seconds", "Leave it out"),
    ),
}
# Mistakes that only the host can reveal.
FOUND: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    HOSTS[0]: (
        {
            # A name of a public address, and users that the host does not know.
            **routed("http://region1.v2.argotunnel.com:8000"),
            "proxy_allowed_ips": [],
            "firewall_admin_users": ["prometheus"],
            "firewall_outbound": [{**OPENING, "user": "backup-agent"}],
        },
        (
            f"{NOWHERE}: on the host, region1.v2.argotunnel.com is 198.41.",
            "which is in none of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16",
            "Add its network to proxy_allowed_ips",
            "firewall_admin_users: prometheus is no account of the host itself (/etc/passwd). Make",
            "firewall_outbound[0]: backup-agent is no account of the host itself",
        ),
    ),
    # A name of the metadata address.
    HOSTS[1]: (
        {
            **routed("http://metadata.google.internal:80"),
            "proxy_allowed_ips": [],
            "proxy_disable_ip_validation": True,
        },
        (
            f"{NOWHERE}: on the host, metadata.google.internal is 169.254.169.254",
            "is a cloud's metadata address",
            "Route to an MCP server instead",
        ),
    ),
}


def cases_refused(
    folder: Path,
    cases: dict[str, tuple[dict[str, Any], tuple[str, ...]]],
    places: dict[str, dict[str, Any]],
) -> None:
    """Every case in one run, each at a host of its own: each is refused by itself."""
    hosts = {name: {**places[name], **values} for name, (values, _said) in cases.items()}
    extra = folder / "cases.json"
    extra.write_text(json.dumps({"mcp_tunnel": {"hosts": hosts}}))
    _head, *parts = re.split(r"fatal: \[(.+?)\]: ", refused({}, "--inventory", str(extra)))
    messages = dict(zip(parts[::2], parts[1::2], strict=True))
    assert messages.keys() == cases.keys()
    for name, (_values, said) in cases.items():
        assert [text for text in said if text not in messages[name]] == [], messages[name]


def test_values(tmp_path: Path) -> None:
    """The hosts stand beside the replicas, at addresses where nobody answers: nobody is asked."""
    cases = {name.replace(" ", "_"): case for name, case in VALUES.items()}
    places = {
        name: {
            "ansible_host": f"192.0.2.{number}",
            "mcp_tunnel_instance": f"case{number}",
            "mcp_tunnel_display_name": f"case{number}",
        }
        for number, name in enumerate(cases, 1)
    }
    cases_refused(tmp_path, cases, places)


def test_what_only_the_host_can_tell(tmp_path: Path) -> None:
    cases_refused(tmp_path, FOUND, {name: {} for name in HOSTS})


@contextmanager
def without(path: str) -> Iterator[None]:
    """Let the first host lack a file; the change of the directory's times does not show."""
    host, folder = shell(HOSTS[0]), str(Path(path).parent)
    host.check_output("touch --reference=%s /run/before && mv %s %s.away", folder, path, path)
    try:
        yield
    finally:
        host.check_output("mv %s.away %s && touch --reference=/run/before %s", path, path, folder)


def test_a_host_without_resolver() -> None:
    with without("/etc/resolv.conf"):
        output = refused({"firewall_resolvers": []})
    assert "firewall_resolvers: /etc/resolv.conf names no name server" in output
    assert "Set the variable, or name one there" in output


def test_a_host_without_nft() -> None:
    with without("/usr/sbin/nft"):
        output = refused({})
    assert "nftables: there is no /usr/sbin/nft. Install the distribution's package" in output


# A container without the capability looks like this.
LEAN_PYTHON = """#!/bin/sh
exec setpriv --inh-caps -net_admin --bounding-set -net_admin /usr/bin/python3 "$@"
"""


def test_hosts_that_may_not_ask_their_kernel() -> None:
    path = "/usr/local/bin/lean-python"
    for name in HOSTS:
        shell(name).check_output("printf %s > %s && chmod 755 %s", LEAN_PYTHON, path, path)
    try:
        output = refused({"ansible_python_interpreter": path})
    finally:
        for name in HOSTS:
            shell(name).check_output("rm %s", path)
    assert output.count("nftables: nft could not ask the kernel") >= len(HOSTS)
    assert "Operation not permitted" in output
    assert "A container needs the capability CAP_NET_ADMIN" in output


SECOND = {
    "ansible_host": HOSTS[0],
    "mcp_tunnel_instance": "second",
    "mcp_tunnel_display_name": "second",
    "proxy_listen_port": 9080,
    "proxy_admin_port": 9081,
    "cloudflared_metrics_port": 9241,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"firewall_admin_users": ["ops", "daemon"]},
            (
                f"firewall_admin_users: differs between {HOSTS[0]} and beside",
                "Instances on a machine share its firewall: give them the same value",
            ),
        ),
        pytest.param(
            {"firewall_host_policy": "strict", "firewall_ssh_sources": ["10.77.0.0/16"]},
            (f"firewall_host_policy: differs between {HOSTS[0]} and beside", "share its firewall"),
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            {"proxy_listen_port": 8080},
            ("port 8080: used twice on one machine", "its own three ports"),
            marks=pytest.mark.exhaustive,
        ),
        (
            {"mcp_tunnel_instance": "default"},
            ("mcp_tunnel_instance: 'default' is deployed twice", "its own name"),
        ),
    ],
    ids=["another user", "another policy", "a port of the other", "the other's name"],
)
def test_an_instance_that_overlaps_with_another(
    tmp_path: Path, changes: dict[str, Any], said: tuple[str, ...]
) -> None:
    beside = tmp_path / "beside.yml"
    beside.write_text(yaml.safe_dump({"mcp_tunnel": {"hosts": {"beside": {**SECOND, **changes}}}}))
    output = refused({}, "--inventory", str(beside))
    assert [text for text in said if text not in output] == [], output


def test_two_names_of_one_machine(tmp_path: Path) -> None:
    """The same machine looks like another one at another address, until it is asked."""
    again = {**SECOND, "ansible_host": LAB["hosts"][0]["address"], "firewall_audit": "true"}
    extra = tmp_path / "inventory.yml"
    extra.write_text(yaml.safe_dump({"mcp_tunnel": {"hosts": {"again": again}}}))
    output = refused({}, "--inventory", str(extra))
    assert f"firewall_audit: differs between {HOSTS[0]} and again" in output
    assert "share its firewall" in output
