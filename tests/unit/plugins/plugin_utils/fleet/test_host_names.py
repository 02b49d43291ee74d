"""A name of a host in a list of hosts means that host, and no other."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet.host_names import check

GROUPS = {"web": ["web1", "web2"], "alone": ["alone"], "empty": []}


@pytest.mark.parametrize(
    "name", ["web1", "Web-1.Example.com", "10.77.0.2", "2001:db8::1", "_x", "alone", "localhost"]
)
def test_names_that_mean_one_host(name):
    assert not list(check(name, GROUPS))


@pytest.mark.parametrize(
    "name",
    ["web 1", "web,1", "web*", "web[1]", "!web1", "&web1", "~web1", "a:b", "käse", "-x", "x-", ""],
)
def test_names_that_are_patterns(name):
    (problem,) = check(name, GROUPS)
    assert "may mean other hosts" in str(problem)


@pytest.mark.parametrize("name", ["web", "empty"])
def test_names_of_groups(name):
    (problem,) = check(name, GROUPS)
    assert str(problem).startswith(f"Host '{name}': has the name of a group")
