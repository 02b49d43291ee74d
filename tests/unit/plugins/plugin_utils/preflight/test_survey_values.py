"""Values as a survey gives them: an empty text for nothing, and texts for everything else."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import plan, role_options
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good


@pytest.mark.parametrize("name", role_options.defaults())
def test_an_empty_text_is_the_default(name):
    assert role_options.as_meant({name: ""}) == {name: role_options.defaults()[name]}


def test_nothing_is_an_oversight_unless_a_job_says_so():
    assert role_options.as_meant({"proxy_workers": None}) == {"proxy_workers": None}
    assert role_options.as_meant({"proxy_workers": None}, is_job=True) == {"proxy_workers": 0}


def test_a_date_is_the_text_that_it_was():
    named = {"mcp_tunnel_token_version": datetime.date(2026, 11, 29)}
    assert role_options.as_meant(named) == {"mcp_tunnel_token_version": "2026-11-29"}


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("mcp_tunnel_health_timeout", "90", 90),
        ("mcp_tunnel_archive", "yes", True),
        ("mcp_tunnel_archive", "false", False),
        ("mcp_tunnel_routes", "echo: http://10.0.0.1:8000\n", {"echo": "http://10.0.0.1:8000"}),
        ("mcp_tunnel_routes", '{"echo": "http://a:1"}', {"echo": "http://a:1"}),
        ("mcp_tunnel_routes", "echo: '{{ 1 + 1 }}'", {"echo": "{{ 1 + 1 }}"}),
        ("proxy_allowed_ips", "- 10.0.0.1\n- 10.0.0.2", ["10.0.0.1", "10.0.0.2"]),
        ("proxy_allowed_ips", "[10.0.0.1]", ["10.0.0.1"]),
        ("mcp_tunnel_forget", "[host3]", ["host3"]),
        ("mcp_tunnel_forget", "['host3', \"010\"]", ["host3", "010"]),
        ("mcp_tunnel_forget", "- host3\n- host4\n", ["host3", "host4"]),
        ("mcp_tunnel_forget", "[]", []),
        ("mcp_tunnel_required_routes", "[echo]", ["echo"]),
        ("mcp_tunnel_required_routes", "[]", []),
        # A text is not touched, whatever it looks like.
        ("mcp_tunnel_token_version", "2", "2"),
        ("mcp_tunnel_display_name", "a: b", "a: b"),
        ("mcp_tunnel_batch", "50%", "50%"),
        ("mcp_tunnel_soak", "600", "600"),
        ("mcp_tunnel_canary", "[host2]", ["host2"]),
    ],
)
def test_a_text_is_what_it_stands_for(name, text, meant):
    assert role_options.as_meant({name: text}) == {name: meant}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("mcp_tunnel_routes", "echo", "must be a map"),
        ("mcp_tunnel_routes", "- echo: http://a:1", "must be a map"),
        ("mcp_tunnel_routes", "a=http://a:1", "must be a map"),
        ("mcp_tunnel_routes", "x: 1\na: b: c", "that is no YAML, see its line 2."),
        ("mcp_tunnel_routes", "x: {a: 1,\na: 2}", "that has a name twice, see its line 1."),
        ("mcp_tunnel_routes", "a: &b {c: 1}\nd: *b", "that has an alias (*), see its line 2."),
        ("mcp_tunnel_routes", "a: !!python/name:os.system x", "that is no YAML, see its line 1."),
        ("mcp_tunnel_routes", "a: \x00", "that is no YAML."),
        ("mcp_tunnel_routes", "[" * 5000, "that is no YAML"),
        ("mcp_tunnel_routes", f"a: 1{':1' * 9000}.5", "that is no YAML"),
        ("mcp_tunnel_routes", f"a: 1{':1' * 9000}", "that is no YAML"),
        ("mcp_tunnel_identity", "source", "must be a map"),
        ("proxy_limits", "- 1", "must be a map"),
        ("proxy_settings", "a", "must be a map"),
        ("proxy_allowed_ips", "10.0.0.1,10.0.0.2", "must be a list"),
        ("mcp_tunnel_forget", "a: 1", "must be a list"),
        ("firewall_inbound", "a", "must be a list"),
        ("mcp_tunnel_required_routes", "echo", "must be a list"),
        ("mcp_tunnel_required_routes", '"echo"', "must be a list"),
        ("mcp_tunnel_required_routes", "all", "must be a list"),
        ("mcp_tunnel_forget", "host3", "must be a list"),
        ("mcp_tunnel_forget", '"host3"', "must be a list"),
        ("mcp_tunnel_forget", "host3,host4", "must be a list"),
        ("mcp_tunnel_forget", "5", "must be a list"),
        ("mcp_tunnel_forget", "null", "must be a list"),
        ("cloudflared_checksums", "x", "must be a map"),
    ],
)
def test_a_text_that_is_something_else_is_one_problem(name, text, problem):
    values = role_options.as_meant(good(**{name: text}))
    assert values[name] == text
    (found,) = plan.check_values(values)
    assert str(found).startswith(f"{name}: must be a ")
    assert problem in str(found)


@pytest.mark.parametrize("text", ["010", "1.5", "5 ", "five"])
def test_a_text_that_is_no_number_stays(text):
    assert role_options.as_meant({"proxy_workers": text}) == {"proxy_workers": text}


@pytest.mark.parametrize("name", ["mcp_tunnel_forget", "mcp_tunnel_required_routes"])
@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("[1.10]", "Put that item in quotes."),
        ("[010]", "Put that item in quotes."),
        ("[yes]", "Put that item in quotes."),
        ("[2026-11-29]", "Put that item in quotes."),
        ("[~]", "Put that item in quotes."),
        ("[[echo]]", "Correct that item."),
        ("[{echo: 1}]", "Correct that item."),
    ],
)
def test_a_list_of_names_has_texts_alone(name, text, remedy):
    values = role_options.as_meant(good(**{name: text}))
    (found,) = plan.check_values(values)
    assert str(found) == f"{name}: has an item that is not a text. {remedy}"


@pytest.mark.parametrize("text", ["[host3 host4]", "- host3, host4", "['']", "[host3;host4]"])
def test_several_names_in_one_text_are_no_host(text):
    (found,) = plan.check_values(role_options.as_meant(good(mcp_tunnel_forget=text)))
    assert str(found).startswith("mcp_tunnel_forget: has the item '")
    assert str(found).endswith("Write the names like [a, b], or one a line, each after `- `.")


@pytest.mark.parametrize("name", ["Echo", "echo", "echo.", "all"])
def test_a_required_route_is_named_as_routes_are(name):
    """The proxy ignores case, and a dot at the end."""
    values = role_options.as_meant(good(mcp_tunnel_required_routes=f"[{name}]"))
    assert plan.check_values(values) == []
    assert plan.make_plan(values, ["host1"], "host1")["required_routes"] == ["echo"]


def test_a_required_route_that_is_none():
    values = role_options.as_meant(good(mcp_tunnel_required_routes="[wiki]"))
    (found,) = plan.check_values(values)
    assert str(found).startswith("mcp_tunnel_required_routes: names 'wiki', which is no route.")


def test_an_empty_list_of_required_routes_requires_none():
    values = role_options.as_meant(good(mcp_tunnel_required_routes="[]"))
    assert plan.check_values(values) == []
    assert plan.make_plan(values, ["host1"], "host1")["required_routes"] == []
