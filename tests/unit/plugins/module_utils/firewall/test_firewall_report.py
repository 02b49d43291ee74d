"""The report to an operator, and above all what it never calls fine."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    accounts as firewall_accounts,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import address_filter
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    report as firewall_report,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    state as firewall_state,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import table as nft_table
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.files import (
    RuleFiles,
    Rules,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.records import (
    FirewallRecords,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import boot_cycles, systemd

ANY_OF_10_0_0 = {"prefix": {"addr": "10.0.0.0", "len": 24}}
REFUSED = {
    "rule": {
        "chain": "proxy",
        "comment": "anything else",
        "expr": [{"counter": "proxy/refused"}, {"reject": None}],
    }
}


class Host:
    """A host whose firewall is as it was deployed, until a test changes something."""

    def __init__(self, directory):
        self.firewall = firewall_state.Firewall(
            RuleFiles(directory / "nftables.d", directory / "units"),
            FirewallRecords(directory / "records"),
        )
        self.resolv_conf = directory / "resolv.conf"
        self.resolv_conf.write_text("nameserver 10.0.0.53\nnameserver fe80::1%eth0\n")
        self.listing = [
            {"metainfo": {"version": "1.0.6"}},
            {"counter": {"name": "proxy/refused", "packets": 3, "bytes": 180}},
            {
                "set": {
                    "name": "resolvers_v4",
                    "elem": [{"prefix": {"addr": "10.0.0.0", "len": 24}}],
                }
            },
            {"set": {"name": "resolvers_v6", "elem": ["fe80::1"]}},
            REFUSED,
        ]
        self.unit = {"active": "active", "enabled": True}
        self.denials = "any\n\nany\n"
        self.enforced = True
        self.changed, self.shared = [], []
        self.cycles = []
        rules = Rules("host\n", {"default": "rules\n"})
        with self.firewall.records.locked():
            self.firewall.files.write(rules)
            self.firewall.records.look("default", {"proxy/refused": [1, 60]})
            self.firewall.records.look("default", {"proxy/refused": [3, 180]})
            self.firewall.records.store_loaded(rules, self.listing)

    def report(self, deploying=False):
        return firewall_report.report(self.firewall, "default", deploying)

    def states(self):
        return {item["object"]: item["state"] for item in self.report()["findings"]}


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = Host(tmp_path)

    def show(names):
        return [
            systemd.Unit(
                name=name, sub="", needs_reload=False, loaded=True, restarts=0, **host.unit
            )
            for name in names
        ]

    monkeypatch.setattr(systemd, "show", show)
    monkeypatch.setattr(systemd, "systemctl", lambda *_: host.denials)
    monkeypatch.setattr(nft_table, "listing", lambda: host.listing)
    monkeypatch.setattr(firewall_accounts, "changed", lambda _: host.changed)
    monkeypatch.setattr(firewall_accounts, "shared", lambda _: host.shared)
    monkeypatch.setattr(boot_cycles, "cycles", lambda: host.cycles)
    monkeypatch.setattr(address_filter, "enforced", lambda: host.enforced)
    monkeypatch.setattr(firewall_report, "RESOLV_CONF", host.resolv_conf)
    return host


def test_an_nft_that_fails_is_one_row(host, monkeypatch):
    """The other rows are as before; if the whole check ended, it would hide them."""

    def listing():
        raise TunnelError("table inet mcp_tunnel", "nft refuses the rules", "Look at nft")

    monkeypatch.setattr(nft_table, "listing", listing)
    host.unit["enabled"] = False
    assert "table inet mcp_tunnel: nft refuses the rules. Look at nft." in problem(host)
    assert "not enabled" in problem(host)


def test_a_resolv_conf_that_cannot_be_read_is_one_row(host):
    """One example is a link that leads nowhere."""
    host.resolv_conf.unlink()
    assert f"{host.resolv_conf}: cannot be read: No such file or directory" in problem(host)


def problem(host):
    result = host.report()
    assert not result["healthy"]
    assert any("FAILED" in line for line in result["table"])
    return result["msg"]


def test_everything_is_fine(host):
    result = host.report()
    assert result["healthy"]
    assert "msg" not in result
    assert {item["state"] for item in result["findings"]} == {"ok"}
    assert len(result["rows"]) == 1


def test_units_that_systemd_would_leave_out_at_the_next_boot(host):
    host.cycles = [("mcp-tunnel-firewall.service", "b.service")]
    text = problem(host)
    assert "systemd would leave out one of mcp-tunnel-firewall.service, b.service" in text
    assert "systemd-analyze verify" in text


def test_that_boot_is_not_said_to_be_fine_unseen(host):
    host.cycles = None
    assert host.states()["next boot"] == "not proven"


def test_a_missing_table(host):
    host.listing = None
    assert "is not loaded: nothing is refused. Run the site playbook" in problem(host)


def test_a_tampered_table(host):
    host.listing.append({"rule": {"chain": "proxy", "expr": [{"accept": None}]}})
    assert "is not what was loaded: somebody has changed it. Run the site playbook" in problem(host)


def test_a_tampered_file(host):
    host.firewall.files.host_path.write_text("mine\n")
    assert "would come into force at the next boot" in problem(host)


def test_accounts_that_the_rules_do_not_mean(host):
    host.changed = ["mcp-proxy is user 5 on this host, and 7 in the rules"]
    host.shared = ["twin has the number of mcp-proxy, 5"]
    told = problem(host)
    assert "mcp-proxy is user 5 on this host, and 7 in the rules. Run the site playbook" in told
    assert "twin has the number of mcp-proxy, 5. Give every account a number of its own" in told


@pytest.mark.parametrize("unit", [{"active": "failed"}, {"enabled": False}])
def test_a_unit_that_will_not_load_it(host, unit):
    host.unit.update(unit)
    assert "journalctl -u mcp-tunnel-firewall.service" in problem(host)


def test_a_host_that_was_never_deployed(host):
    host.firewall.records.remove()
    host.firewall.files.remove()
    assert not host.report()["healthy"]
    host.listing = None
    assert not host.report()["healthy"]


@pytest.mark.parametrize("address", ["10.0.1.53", "2001:db8::53"])
def test_a_resolver_that_may_not_be_asked(host, address):
    host.resolv_conf.write_text(f"nameserver 10.0.0.53\nnameserver {address}\n")
    message = problem(host)
    assert f"names {address}, which the services may not ask" in message
    assert "firewall_resolvers" in message


def test_another_nft_proves_nothing(host):
    host.listing[0]["metainfo"]["version"] = "1.1.3"
    assert host.states()["table inet mcp_tunnel"] == "not proven"


def test_audit_mode_is_said(host):
    with host.firewall.records.locked():
        host.listing.remove(REFUSED)
        host.firewall.records.store_loaded(host.firewall.files.read(), host.listing)
    assert host.states()["table inet mcp_tunnel"] == "notice"


def test_what_was_refused_since_the_last_deployment(host):
    host.listing[1]["counter"]["packets"] = 7
    found = [item for item in host.report()["findings"] if item["state"] == "notice"]
    assert [item["detail"] for item in found] == ["proxy/refused 4"]
    assert found[0]["object"].startswith("refused since 20")


def test_what_was_refused_before_the_one_that_runs(host):
    found = [item for item in host.report(True)["findings"] if item["state"] == "notice"]
    assert [item["detail"] for item in found] == ["proxy/refused 2"]


@pytest.mark.parametrize("enforced", [False, None])
def test_a_second_wall_that_is_none(host, enforced):
    host.enforced = enforced
    assert host.states()["IPAddressDeny="] == "not proven"
    assert host.report()["healthy"]


def test_units_without_a_second_wall(host):
    host.denials = "\n\n\n"
    assert host.states()["IPAddressDeny="] == "not proven"


def test_a_second_wall_of_one_unit(host):
    host.denials = "\n\nany\n"
    detail = next(
        item["detail"] for item in host.report()["findings"] if item["object"] == "IPAddressDeny="
    )
    assert detail == "enforced for mcp-cloudflared@default.service"
