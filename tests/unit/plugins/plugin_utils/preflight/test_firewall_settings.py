from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    firewall as firewall_settings,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import plan
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good

STRICT = {"firewall_host_policy": "strict", "firewall_ssh_sources": ["198.51.100.7"]}
OPENING = {"protocol": "tcp", "ports": [443], "networks": ["203.0.113.0/24", "2001:db8::/32"]}


def told(**changes):
    return [(problem.subject, str(problem)) for problem in plan.check_values(good(**changes))]


@pytest.mark.parametrize(
    "changes",
    [
        {"mcp_tunnel_edge_networks": ["198.41.192.7", "2606:4700:a0::/44"]},
        {"mcp_tunnel_edge_networks": ["2001:db8::/32"], "cloudflared_edge_ip_version": 6},
        {"firewall_audit": True},
        {"firewall_resolvers": ["10.0.0.53", "2001:db8::53", "127.0.0.53"]},
        {"firewall_admin_users": ["prometheus", "node_exporter", "J.Doe"]},
        {"firewall_rollback_timeout": 0},
        {"firewall_rollback_timeout": "120"},
        STRICT,
        {**STRICT, "firewall_ssh_ports": [22, "2222"], "firewall_api_networks": []},
        {"firewall_inbound": [OPENING], "firewall_outbound": [{**OPENING, "user": "backup"}]},
        {"firewall_outbound": [{**OPENING, "protocol": "udp", "user": None}]},
        # An operator who allows loopback may route to it.
        {"mcp_tunnel_routes": {"a": "http://127.0.0.1:80"}, "proxy_allowed_ips": ["127.0.0.1"]},
    ],
)
def test_good_values(changes):
    assert told(**changes) == []


NETWORKS = ("mcp_tunnel_edge_networks", "firewall_ssh_sources", "firewall_api_networks")


@pytest.mark.parametrize("variable", NETWORKS)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("10.0.0.0/8", "must be a list of networks, is a text of 10 characters"),
        (["edge.example.org"], "'edge.example.org' is not a network"),
        (["10.0.0.0/33"], "'10.0.0.0/33' is not a network"),
        (["10.0.0.0/255.0.0.0"], "'10.0.0.0/255.0.0.0' is not a network"),
        (["10.0.0.1:80"], "'10.0.0.1:80' is not a network"),
        (["fe80::%eth0/64"], "'fe80::%eth0/64' is not a network"),
        ([""], "'' is not a network"),
        ([10], "10 is not a network"),
        (["10.0.0.5/24"], "'10.0.0.5/24' is an address inside a network, which is 10.0.0.0/24"),
        (["2001:db8::1/32"], "inside a network, which is 2001:db8::/32"),
    ],
)
def test_what_is_no_network(variable, value, problem):
    ((subject, text),) = told(**{variable: value})
    assert subject == variable
    assert problem in text
    assert "Write " in text


@pytest.mark.parametrize(
    ("changes", "subject", "words"),
    [
        (
            {"mcp_tunnel_edge_networks": []},
            "mcp_tunnel_edge_networks",
            ("is empty", "Leave it out"),
        ),
        (
            {
                "mcp_tunnel_edge_networks": ["198.41.192.0/19"],
                "cloudflared_edge_ip_version": "6",
            },
            "mcp_tunnel_edge_networks",
            ("has no IPv6 network, which cloudflared_edge_ip_version asks for", "Leave it out"),
        ),
        (
            {"firewall_resolvers": "10.0.0.53"},
            "firewall_resolvers",
            ("must be a list of addresses", "one `- …` per line"),
        ),
        (
            {"firewall_resolvers": ["10.0.0.53:53"]},
            "firewall_resolvers",
            ("'10.0.0.53:53' is not an address", "without a port"),
        ),
        ({"firewall_resolvers": ["dns.corp"]}, "firewall_resolvers", ("'dns.corp' is not",)),
        ({"firewall_resolvers": ["10.0.0.0/8"]}, "firewall_resolvers", ("'10.0.0.0/8' is not",)),
        ({"firewall_resolvers": ["fe80::1%eth0"]}, "firewall_resolvers", ("an interface",)),
        (
            {"firewall_admin_users": "prometheus"},
            "firewall_admin_users",
            ("must be a list of users",),
        ),
        (
            {"firewall_admin_users": [1000]},
            "firewall_admin_users",
            ("1000 is not the name of a user", "not the number"),
        ),
        ({"firewall_admin_users": ["j@corp"]}, "firewall_admin_users", ("'j@corp' is not the",)),
        (
            {"firewall_admin_users": ['x" accept; #']},
            "firewall_admin_users",
            ("is not the name of a user",),
        ),
        (
            {"firewall_admin_users": ["mcp-proxy"]},
            "firewall_admin_users",
            ("whose rules are fixed",),
        ),
        (
            {"firewall_rollback_timeout": 3601},
            "firewall_rollback_timeout",
            ("3601 is not a whole number of seconds from 0 to 3600",),
        ),
        ({"firewall_rollback_timeout": -1}, "firewall_rollback_timeout", ("-1 is not",)),
        ({"firewall_rollback_timeout": True}, "firewall_rollback_timeout", ("True is not",)),
        ({"firewall_rollback_timeout": "1m"}, "firewall_rollback_timeout", ("'1m' is not",)),
        (
            {"firewall_host_policy": "strict"},
            "firewall_ssh_sources",
            ("is needed with firewall_host_policy: strict", "the controller's among them"),
        ),
        ({**STRICT, "firewall_ssh_ports": []}, "firewall_ssh_ports", ("must be a list of ports",)),
        ({**STRICT, "firewall_ssh_ports": 22}, "firewall_ssh_ports", ("must be a list of ports",)),
        ({**STRICT, "firewall_ssh_ports": [0]}, "firewall_ssh_ports", ("0 is not a port",)),
        ({**STRICT, "firewall_ssh_ports": ["ssh"]}, "firewall_ssh_ports", ("'ssh' is not a port",)),
    ],
)
def test_a_wrong_value_is_named_with_a_remedy(changes, subject, words):
    problems = told(**changes)
    assert [name for name, _text in problems] == [subject], problems
    assert [word for word in words if word not in problems[0][1]] == [], problems


@pytest.mark.parametrize("variable", ["firewall_inbound", "firewall_outbound"])
@pytest.mark.parametrize(
    ("changes", "subject", "problem"),
    [
        ({"protocol": None}, "[1]", "protocol must be given"),
        ({"ports": [], "networks": None}, "[1]", "ports and networks must be given"),
        ({"protocol": "icmp"}, "[1]", "protocol is 'icmp'. Use tcp or udp"),
        ({"protocol": ["tcp"]}, "[1]", "protocol is ['tcp']"),
        ({"ports": 443}, "[1]['ports']", "must be a list of ports, is a number"),
        ({"ports": [443, 70000]}, "[1]['ports']", "70000 is not a port"),
        ({"ports": ["8000-8100"]}, "[1]['ports']", "'8000-8100' is not a port"),
        ({"networks": "10.0.0.0/8"}, "[1]['networks']", "must be a list of networks"),
        ({"networks": ["any"]}, "[1]['networks']", "'any' is not a network"),
        ({"port": 443}, "[1]", "'port' is not known. Use protocol, ports, networks"),
    ],
)
def test_a_malformed_opening(variable, changes, subject, problem):
    ((named, text),) = told(**{variable: [OPENING, {**OPENING, **changes}]})
    assert named == variable + subject
    assert problem in text


@pytest.mark.parametrize("variable", ["firewall_inbound", "firewall_outbound"])
@pytest.mark.parametrize(
    ("value", "subject", "problem"),
    [
        ("tcp/443", "", "must be a list of maps, is a text of 7 characters"),
        (OPENING, "", "must be a list of maps, is a map of 3"),
        (["tcp/443"], "[0]", "must be a map, is a text of 7 characters"),
    ],
)
def test_what_is_no_list_of_openings(variable, value, subject, problem):
    ((named, text),) = told(**{variable: value})
    assert named == variable + subject
    assert problem in text
    assert "{protocol: tcp, ports: [443], networks: [10.0.0.0/8]}" in text


def test_a_user_belongs_to_an_outbound_opening():
    ((subject, text),) = told(firewall_inbound=[{**OPENING, "user": "backup"}])
    assert (subject, "'user' is not known" in text) == ("firewall_inbound[0]", True)
    ((subject, text),) = told(firewall_outbound=[{**OPENING, "user": "mcp-cloudflared"}])
    assert (subject, "whose rules are fixed" in text) == ("firewall_outbound[0]", True)


def test_the_users_that_are_named():
    values = good(
        firewall_admin_users=["prometheus"],
        firewall_outbound=[OPENING, {**OPENING, "user": "backup"}],
    )
    assert firewall_settings.named_users(values) == [
        ("firewall_admin_users", "prometheus"),
        ("firewall_outbound[1]", "backup"),
    ]


@pytest.mark.parametrize("allowed", [[], ["169.254.0.0/16"], ["0.0.0.0/0"]])
def test_a_route_to_a_metadata_address(allowed):
    routes = {"a": "http://169.254.169.254:80"}
    ((subject, text),) = told(mcp_tunnel_routes=routes, proxy_allowed_ips=allowed)
    assert subject == "mcp_tunnel_routes['a']"
    assert "169.254.169.254 is a cloud's metadata address" in text
    assert "Route to an MCP server instead" in text


def test_a_route_to_a_metadata_address_without_validation():
    routes = {"a": "http://100.100.100.200:80"}
    ((_subject, text),) = told(mcp_tunnel_routes=routes, proxy_disable_ip_validation=True)
    assert "a cloud's metadata address" in text
