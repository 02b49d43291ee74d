"""The containment of a host beside the kernel; a scenario flushes the table of a real one."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import containment
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import table as nft_table

DONE = {"changed": False, "actions": []}
RULES = "table inet mcp_tunnel_containment { }\n"


def listed(text):
    """Return a listing that depends on the text, with what differs from load to load."""
    return [{"rule": {"comment": text, "handle": id(text)}}]


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """A kernel that has what was loaded last; ``kernel[0]`` is that, ``None`` without table."""
    loaded = [None]
    monkeypatch.setattr(containment, "_ATTRIBUTES", containment.secret_files.private_attributes())
    monkeypatch.setattr(nft_table, "load", lambda text: loaded.__setitem__(0, text))
    monkeypatch.setattr(
        nft_table, "listing", lambda _table: None if loaded[0] is None else listed(loaded[0])
    )
    monkeypatch.setattr(nft_table, "listing_of", lambda text, _table: listed(text))
    return loaded


def ensure(tmp_path, ports=(22,), check_mode=False, sources=()):
    way_in = containment.WayIn(set(ports), sources)
    return containment.ensure(RULES, way_in, check_mode, str(tmp_path / "rules.nft"))


def test_a_second_call_changes_nothing(kernel, tmp_path):
    assert ensure(tmp_path)["actions"] == ["rules loaded", f"{tmp_path}/rules.nft written"]
    assert kernel[0] == (tmp_path / "rules.nft").read_text() == "define ssh = { 22 }\n" + RULES
    assert ensure(tmp_path) == DONE


@pytest.mark.parametrize("flushed", [None, ""])
def test_a_table_that_somebody_has_flushed_comes_back(kernel, tmp_path, flushed):
    ensure(tmp_path)
    kernel[0] = flushed
    assert ensure(tmp_path, check_mode=True)["actions"] == ["rules loaded"]
    assert kernel[0] == flushed
    assert ensure(tmp_path)["actions"] == ["rules loaded"]
    assert ensure(tmp_path) == DONE


def test_a_host_that_cannot_compare_loads_them_each_time(kernel, tmp_path, monkeypatch):
    ensure(tmp_path)
    monkeypatch.setattr(nft_table, "listing_of", lambda _text, _table: None)
    assert ensure(tmp_path)["actions"] == ["rules loaded"]


def test_a_file_that_somebody_has_changed_is_written_anew(kernel, tmp_path):
    ensure(tmp_path)
    (tmp_path / "rules.nft").write_text("")
    assert ensure(tmp_path)["actions"] == [f"{tmp_path}/rules.nft written"]


def test_each_port_of_ssh_is_open(kernel, tmp_path):
    ensure(tmp_path, ports=(2222, 22))
    assert kernel[0].startswith("define ssh = { 22, 2222 }\n")


@pytest.mark.parametrize(
    ("sources", "ip", "ip6"),
    [
        ({"192.0.2.7"}, "127.0.0.1/32, 192.0.2.7/32", "::1/128"),
        # Neither overlaps nor bits of hosts, which nft would refuse.
        (
            {"192.0.2.0/24", "192.0.2.7", "fd00::7/64"},
            "127.0.0.1/32, 192.0.2.0/24",
            "::1/128, fd00::/64",
        ),
        ({"0.0.0.0/0"}, "0.0.0.0/0", "::1/128"),
    ],
)
def test_the_sources_of_ssh(kernel, tmp_path, sources, ip, ip6):
    ensure(tmp_path, sources=sources)
    assert kernel[0] == (
        f"define ssh = {{ 22 }}\ndefine ssh_ip = {{ {ip} }}\ndefine ssh_ip6 = {{ {ip6} }}\n{RULES}"
    )


def test_a_disk_that_takes_nothing_hinders_no_containment(kernel, tmp_path):
    path = str(tmp_path / "missing" / "rules.nft")
    with pytest.raises(TunnelError, match="in force until the next boot"):
        containment.ensure(RULES, containment.WayIn({22}), False, path)
    assert kernel[0].endswith(RULES)
