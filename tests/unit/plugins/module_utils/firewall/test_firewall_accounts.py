"""Numbers in the kernel, compared with the accounts of the host."""

from __future__ import annotations

import pwd

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    accounts as firewall_accounts,
)

HOST = {"root": 0, "mcp-proxy": 997, "mcp-cloudflared": 996, "ops": 1000}


@pytest.fixture(autouse=True)
def accounts(monkeypatch, tmp_path):
    """The host's accounts, which a test may change."""
    found = dict(HOST)

    class Entry:
        def __init__(self, number):
            self.pw_uid = number

    def passwd():
        path = tmp_path / "passwd"
        lines = [f"{name}:x:{number}:1::/:/bin/sh" for name, number in found.items()]
        path.write_text("\n".join(["+::::::", *lines]) + "\n")
        return path

    class Passwd:
        def read_text(self, **options):
            return passwd().read_text(**options)

    monkeypatch.setattr(pwd, "getpwnam", lambda name: Entry(found[name]))
    monkeypatch.setattr(firewall_accounts, "_PASSWD", Passwd())
    return found


def listing(**held):
    numbers = {"mcp-proxy": [997], "mcp-cloudflared": [996], **held}
    sets = [{"set": {"name": f"account/{name}", "elem": numbers[name]}} for name in numbers]
    return [{"metainfo": {}}, {"set": {"name": "resolvers_v4", "elem": [1]}}, *sets]


def test_all_is_well():
    assert firewall_accounts.changed(listing(ops=[1000], root=[0])) == []
    assert firewall_accounts.shared(listing(ops=[1000], root=[0])) == []


def test_another_number(accounts):
    accounts["mcp-proxy"] = 4711
    assert firewall_accounts.changed(listing()) == [
        "mcp-proxy is user 4711 on this host, and 997 in the rules"
    ]


def test_two_that_swapped_theirs(accounts):
    accounts.update({"mcp-proxy": 996, "mcp-cloudflared": 997})
    assert len(firewall_accounts.changed(listing())) == 2


def test_an_account_that_is_gone(accounts):
    del accounts["ops"]
    assert firewall_accounts.changed(listing(ops=[1000])) == [
        "ops is no account any more, and 1000 in the rules"
    ]


@pytest.mark.parametrize("numbers", [[], [997, 1000]])
def test_a_set_that_somebody_changed(numbers):
    (text,) = firewall_accounts.changed(listing(**{"mcp-proxy": numbers}))
    assert text.startswith("mcp-proxy is user 997 on this host, and ")


def test_an_empty_set_has_no_elements_in_the_listing():
    bare = [{"set": {"name": "account/mcp-proxy"}}]
    (text,) = firewall_accounts.changed(bare)
    assert text == "mcp-proxy is user 997 on this host, and nobody in the rules"


def test_rules_of_before_that_name_no_account():
    assert firewall_accounts.changed([{"metainfo": {}}]) == ["the rules name no account"]


def test_a_second_name(accounts):
    accounts["twin"] = 997
    assert firewall_accounts.shared(listing()) == ["twin has the number of mcp-proxy, 997"]


def test_other_names_of_root_are_root(accounts):
    accounts["toor"] = 0
    assert firewall_accounts.shared(listing(root=[0])) == []
