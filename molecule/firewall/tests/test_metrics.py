"""The proxy, which may not ask the kernel, shows the kernel's counters with its metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import journal
import pytest
from prometheus_client.parser import text_string_to_metric_families
from testinfra.host import Host

COPY = "/run/mcp-tunnel/firewall-counters.json"
UNIT = "mcp-tunnel-firewall-counters"
PACKETS = "mcp_tunnel_firewall_packets_total"
AGE = "mcp_tunnel_firewall_counters_age_seconds"
ADMIN = "http://127.0.0.1:8081/metrics"
#: Fetches the page of metrics; the hosts have no curl.
FETCH = f"import urllib.request as r; print(r.urlopen('{ADMIN}', timeout=60).read().decode())"


def scrape(host: Host) -> dict[str, Any]:
    """Return Prometheus's samples, by the kernel's counter name, or else by metric name."""
    page = host.check_output("python3 -c %s", FETCH)
    found: dict[str, Any] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == PACKETS:
                labels = [sample.labels[name] for name in ("who", "rule", "mcp_tunnel_instance")]
                found["/".join(filter(None, labels))] = sample.value
            else:
                found[sample.name] = sample.value
    return found


def kernel(host: Host) -> dict[str, int]:
    """Return name to packets, from the kernel itself."""
    listed = json.loads(host.check_output("nft --json list counters table inet mcp_tunnel"))
    items = [item["counter"] for item in listed["nftables"] if "counter" in item]
    return {item["name"]: item["packets"] for item in items}


def copy(host: Host) -> None:
    """Do at once what the timer does by and by; what it is at was read before."""
    host.check_output(f"systemctl restart {UNIT}.service")


@pytest.fixture
def still(host: Host) -> Iterator[Host]:
    """The host while its timer does not run."""
    host.check_output(f"systemctl stop {UNIT}.timer")
    yield host
    host.check_output(f"systemctl start {UNIT}.timer")
    copy(host)


def test_every_counter_is_shown(host: Host) -> None:
    copy(host)
    names = set(kernel(host))
    assert {"proxy/refused", "proxy/upstreams/default", "others/admin/default"} <= names
    # The timer also has a counter of its own, about the rules.
    assert names | {"accounts/wrong"} == {name for name in scrape(host) if "/" in name}


def test_a_refusal_is_seen_in_the_metrics(still: Host) -> None:
    name = "others/admin/default"
    copy(still)
    before = scrape(still)[name]
    refused = still.run("setpriv --reuid nobody --clear-groups python3 -c %s", FETCH)
    assert "Connection refused" in refused.stderr
    assert scrape(still)[name] == before
    copy(still)
    assert scrape(still)[name] == kernel(still)[name] > before


def test_the_timer_repeats_it(host: Host) -> None:
    assert host.service(f"{UNIT}.timer").is_enabled
    assert host.service(f"{UNIT}.timer").is_running
    assert (
        host.check_output(f"systemctl show -P NextElapseUSecMonotonic {UNIT}.timer") != "infinity"
    )


def test_old_counters_are_seen_to_be_old(still: Host) -> None:
    still.check_output(f"touch --date '1 hour ago' {COPY}")
    page = scrape(still)
    assert 3600 <= page[AGE] < math.inf
    assert "proxy/refused" in page
    copy(still)
    assert scrape(still)[AGE] < 3600


@pytest.mark.parametrize("damage", [f"rm {COPY}", f"truncate --size=100 {COPY}"])
def test_the_rest_does_not_depend_on_them(still: Host, damage: str) -> None:
    copy(still)
    scrape(still)
    since = journal.moment(still)
    still.check_output(damage)
    for _ in range(3):
        page = scrape(still)
        assert page[AGE] == math.inf
        assert not [name for name in page if "/" in name]
        assert page["mcp_proxy_build_info"] == 1
    log = journal.read(still, "--unit=mcp-proxy@default", f"--since={since}")
    assert log.count("firewall counters not available") == 1


def test_only_those_who_show_them_may_read_the_copy(host: Host) -> None:
    copy(host)
    directory, file = host.file("/run/mcp-tunnel"), host.file(COPY)
    for found, mode in ((directory, "0o750"), (file, "0o640")):
        assert (found.user, found.group, oct(found.mode)) == ("root", "mcp-proxy", mode)
    read = f"setpriv --reuid ops --regid ops --clear-groups cat {COPY}"
    assert host.run(read).rc != 0


def test_whoever_copies_them_may_do_nothing_else(host: Host) -> None:
    listed = host.check_output(f"systemctl show {UNIT}.service").splitlines()
    shown = dict(line.split("=", 1) for line in listed if "=" in line)
    assert shown["CapabilityBoundingSet"] == "cap_net_admin"
    assert shown["RestrictAddressFamilies"] == "AF_NETLINK"
    assert (shown["NoNewPrivileges"], shown["ProtectSystem"]) == ("yes", "strict")
    assert shown["SystemCallFilter"]


def test_without_the_table_the_copy_stays_and_ages(still: Host) -> None:
    copy(still)
    before = still.check_output(f"stat --format %Y.%i {COPY}")
    still.check_output("nft delete table inet mcp_tunnel")
    try:
        assert still.run(f"systemctl restart {UNIT}.service").rc != 0
    finally:
        still.check_output("systemctl reload mcp-tunnel-firewall.service")
    assert still.check_output(f"stat --format %Y.%i {COPY}") == before
    log = journal.read(still, f"--unit={UNIT}.service")
    assert "No such file or directory" in log
