from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    role_options,
    unknown_names,
)


def told(*names, others=()):
    """Return the problems of variables with these names, and some that belong elsewhere."""
    return [str(problem) for problem in unknown_names.check_names(names, others)]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("proxy_allowed_ip", "proxy_allowed_ips"),
        ("proxy_alowed_ips", "proxy_allowed_ips"),
        ("proxy_disable_ip_validtion", "proxy_disable_ip_validation"),
        ("mcp_tunnel_route", "mcp_tunnel_routes"),
        ("mcp_tunnel_listen_port", "proxy_listen_port"),
        ("cloudflared_log_level", "cloudflared_loglevel"),
        ("firewall_policy", "firewall_host_policy"),
        ("PROXY_ALLOWED_IPS", "proxy_allowed_ips"),
        # One letter of the prefix is wrong, added or missing, or two have changed places.
        ("mcp_tunnels_domain", "mcp_tunnel_domain"),
        ("mcp_tunel_domain", "mcp_tunnel_domain"),
        ("porxy_allowed_ips", "proxy_allowed_ips"),
        ("cloudflare_version", "cloudflared_version"),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest_one(name, meant):
    (problem,) = told(name)
    assert problem.startswith(f"{name}: is not a variable of mcp_tunnels.stack")
    assert f"Did you mean {meant}?" in problem
    assert "mcp_tunnel_other_variables" in problem


def test_a_name_that_is_near_to_none():
    (problem,) = told("proxy_env")
    assert "Did you mean" not in problem
    assert "docs/variables.md" in problem
    assert "mcp_tunnel_other_variables" in problem


def test_known_names_and_those_of_a_run_are_none():
    names = [*role_options.defaults(), *role_options.options(), "mcp_tunnel_plan"]
    # Where all hosts of an inventory have the variables of localhost.
    names += ["mcp_tunnel_awx_image", "mcp_tunnel_awx_project_dest"]
    assert told(*names, "__mcp_tunnel_settings", "__proxy_release") == []


@pytest.mark.parametrize(
    "name",
    [
        "http_proxy",
        "my_proxy_env",
        "proxy",
        "firewalld_enabled",
        "mcp_server_port",
        "ansible_host",
        "group_names",
        "tunnel_domain",
        "upstream",
    ],
)
def test_names_of_others_are_none(name):
    assert told(name) == []


def test_names_that_the_operator_lists_are_none_but_others_are():
    (problem,) = told("proxy_env", "proxy_allowed_ip", others=["proxy_env"])
    assert problem.startswith("proxy_allowed_ip: ")


@pytest.mark.parametrize("others", [None, "proxy_allowed_ip", {"proxy_allowed_ip": 1}, 7])
def test_what_is_no_list_lists_nothing(others):
    """Another check reports that it is no list; see role_options.type_problems."""
    assert len(told("proxy_allowed_ip", others=others)) == 1


def test_a_name_is_shown_short_and_without_what_steers_a_terminal():
    (problem,) = told("proxy_\x1b[2J" + "x" * 500)
    assert "\x1b" not in problem
    assert len(problem) < 500


def test_the_prefixes_are_those_of_the_known_names():
    assert unknown_names.prefixes() == ("cloudflared_", "firewall_", "mcp_tunnel_", "proxy_")
