# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports on a host's firewall what an operator wants to know. Changes nothing."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.text_table import aligned
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    accounts as firewall_accounts,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import address_filter
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    listing as nft_listing,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import rows as nft_rows
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import table as nft_table
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.files import UNIT
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.rows import shown_peers
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.state import Firewall
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import boot_cycles, systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.resolvers import resolvers

RESOLV_CONF = Path("/etc/resolv.conf")
OK, FAILED, NOT_PROVEN, NOTICE = "ok", "FAILED", "not proven", "notice"
_RUN_SITE = "Run the site playbook, which loads the rules again"


@dataclass(frozen=True)
class CheckResult:
    """The result of one check, and what to do if it FAILED."""

    object: str
    state: str
    detail: str
    remedy: str = ""


def report(
    firewall: Firewall, instance: str, deploying: bool, try_filter: bool = True
) -> dict[str, Any]:
    """The module's result.

    :param deploying: whether a deployment has noted the counters in this run; refusals are counted
        from the one before.
    :param try_filter: whether to try IPAddressDeny= as well, which starts a transient unit.
    """
    listing, unread = _listed()
    look = firewall.records.looks(instance).get("before" if deploying else "last", {})
    rows = nft_rows.rows(listing or [], instance, look.get("totals", {}))
    findings = [
        _unit(),
        *_next_boot(),
        *(unread or _table(firewall, listing)),
        *_refusals(rows, look.get("at")),
        *_accounts(listing),
        *_resolvers(listing),
        *([_second_wall(instance)] if try_filter else []),
    ]
    failed = [item for item in findings if item.state == FAILED]
    result = {
        "changed": False,
        "healthy": not failed,
        "findings": [asdict(item) for item in findings],
        "rows": [asdict(row) for row in rows],
        "table": _lines(findings, rows),
    }
    if failed:
        lines = [f"firewall: {item.object}: {item.detail}. {item.remedy}." for item in failed]
        result["msg"] = "\n".join(lines)
    return result


def _listed() -> tuple[nft_table.Listing | None, list[CheckResult]]:
    """The kernel's table; if nft cannot say, None and a row about that, so other rows follow."""
    try:
        return nft_table.listing(), []
    except TunnelError as error:
        return None, [CheckResult(error.subject, FAILED, error.problem, error.remedy)]


def _unit() -> CheckResult:
    unit = systemd.show([UNIT])[0]
    good = unit.running and unit.enabled
    detail = f"{unit.active}, {'' if unit.enabled else 'not '}enabled"
    remedy = f"Look at journalctl -u {UNIT}, and run the site playbook"
    return CheckResult(UNIT, OK if good else FAILED, detail, remedy)


def _next_boot() -> list[CheckResult]:
    """The circles of units of which one would be missing after the next boot; empty if none."""
    cycles = boot_cycles.cycles()
    if cycles is None:
        return [CheckResult("next boot", NOT_PROVEN, "systemd-analyze could not be asked")]
    return [
        CheckResult(
            "next boot",
            FAILED,
            f"systemd would leave out one of {', '.join(units)}, because they have to start one "
            "after the other, in a circle",
            "Take an After= or Before= out of the unit that you have added or changed (systemctl "
            "cat shows it, with its drop-ins), until systemd-analyze verify default.target names "
            "no ordering cycle",
        )
        for units in cycles
    ]


def _table(firewall: Firewall, listing: nft_table.Listing | None) -> list[CheckResult]:
    name = f"table {' '.join(nft_table.TABLE)}"
    record = firewall.records.loaded()
    if listing is None:
        return [CheckResult(name, FAILED, "is not loaded: nothing is refused", _RUN_SITE)]
    findings = []
    if record.get("rules") != firewall.files.read().digest:
        detail = "is not what was loaded, and would come into force at the next boot"
        findings.append(
            CheckResult(str(firewall.files.host_path.parent), FAILED, detail, _RUN_SITE)
        )
    if record.get("nft") != nft_listing.nft_version(listing):
        detail = "nft was replaced by another version since the last run of the site playbook"
        findings.append(CheckResult(name, NOT_PROVEN, detail))
    elif record.get("table") != nft_listing.digest(listing):
        detail = "is not what was loaded: somebody has changed it"
        findings.append(CheckResult(name, FAILED, detail, _RUN_SITE))
    elif not nft_rows.refuses(listing):
        detail = "firewall_audit: what would be refused is counted and logged, and let through"
        findings.append(CheckResult(name, NOTICE, detail))
    else:
        findings.append(CheckResult(name, OK, "is what was loaded"))
    return findings


def _refusals(rows: list[nft_rows.Row], at: int | None) -> list[CheckResult]:
    if at is None:
        return []
    refused = [row for row in rows if row.verdict != "allowed" and row.since]
    counted = ", ".join(f"{row.counter} {row.since}" for row in refused)
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
    state = NOTICE if refused else OK
    return [CheckResult(f"refused since {since}", state, counted or "nothing")]


def _accounts(listing: nft_table.Listing | None) -> list[CheckResult]:
    """Whether the kernel judges the packets of the accounts that the rules name, and no others."""
    if listing is None:
        return []
    name = "accounts of the rules"
    remedy = "Give every account a number of its own (usermod --uid), then run the site playbook"
    problems = [(text, _RUN_SITE) for text in firewall_accounts.changed(listing)]
    problems += [(text, remedy) for text in firewall_accounts.shared(listing)]
    if not problems:
        return [CheckResult(name, OK, "have the numbers that the kernel knows")]
    return [CheckResult(name, FAILED, text, remedy) for text, remedy in problems]


def _resolvers(listing: nft_table.Listing | None) -> list[CheckResult]:
    """Whether every name server of the host is one that the services may ask."""
    if listing is None:
        return []
    allowed = [
        ipaddress.ip_network(item)
        for item in nft_rows.set_elements(listing, "resolvers_v4", "resolvers_v6")
    ]
    try:
        text = RESOLV_CONF.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        detail = f"cannot be read: {error.strerror}"
        return [
            CheckResult(str(RESOLV_CONF), FAILED, detail, "Make the file, or the link, good again")
        ]
    named = resolvers(text)
    refused = [
        address
        for address in named
        if not any(ipaddress.ip_address(address) in network for network in allowed)
    ]
    if not refused:
        return [CheckResult(str(RESOLV_CONF), OK, f"names {', '.join(named) or 'nobody'}")]
    detail = f"names {', '.join(refused)}, which the services may not ask"
    remedy = "Run the site playbook; where firewall_resolvers is set, add the address there"
    return [CheckResult(str(RESOLV_CONF), FAILED, detail, remedy)]


def _second_wall(instance: str) -> CheckResult:
    units = [f"mcp-proxy@{instance}.service", f"mcp-cloudflared@{instance}.service"]
    denials = systemd.systemctl("show", "--property=IPAddressDeny", "--value", *units).split("\n\n")
    walled = [unit for unit, denial in zip(units, denials) if denial.strip()]
    if not walled:
        return CheckResult("IPAddressDeny=", NOT_PROVEN, "neither unit has it")
    detail = {
        True: f"enforced for {' and '.join(walled)}",
        False: "this kernel does not enforce it",
        None: "could not be tried on this host",
    }
    enforced = address_filter.enforced()
    return CheckResult("IPAddressDeny=", OK if enforced else NOT_PROVEN, detail[enforced])


def _lines(findings: list[CheckResult], rows: list[nft_rows.Row]) -> list[str]:
    looked_at = [(item.object, item.state, item.detail) for item in findings]
    counted = [
        (*(row.who, row.verdict, row.what, str(row.packets), str(row.since)), shown_peers(row))
        for row in rows
    ]
    return [
        *aligned([("firewall", "state", "detail"), *looked_at]),
        *aligned([("who", "verdict", "what", "packets", "new", "peers"), *counted]),
    ]
