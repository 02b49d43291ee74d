# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may talk to what, from a listing of our table: by the kernel's rules, not the wanted ones.

Counters are named ``<who>/<rule>[/<instance>]``; one with a rule that has a comment is a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    listing as nft_listing,
)

# Whose packets a chain judges, by the beginning of its name.
WHO = {
    "cloudflared": "mcp-cloudflared",
    "proxy": "mcp-proxy",
    "renewal": "mcp-tunnel-renew",
    "listeners": "listening sockets",
    "loopback": "other users",
    "inbound": "from outside",
    "host_input": "into the host",
    "host_forward": "through the host",
    "host_output": "out of the host",
}
_SHOWN_PEERS = 4


@dataclass
class Row:
    """The count of a counter, and for which packets: *peers* are addresses and ports."""

    counter: str
    who: str
    verdict: str  # allowed, refused, or in audit mode only counted
    what: str
    peers: list[str]
    packets: int
    bytes: int
    since: int  # packets since the last deployment


def rows(listing: list[dict[str, Any]], instance: str, earlier: nft_listing.Counters) -> list[Row]:
    """The rows of the host and of *instance*, in the order of WHO, with allowed ones first.

    *earlier* are the counters at the time that ``since`` counts from.
    """
    found: dict[str, Row] = {}
    sets = {item["set"]["name"]: item["set"].get("elem", []) for item in listing if "set" in item}
    totals = nft_listing.counters(listing)
    refusal = "refused" if refuses(listing) else "counted"
    for rule in (item["rule"] for item in listing if "rule" in item):
        counter = next((part["counter"] for part in rule["expr"] if "counter" in part), None)
        if not counter or "comment" not in rule or _of_another(counter, instance):
            continue
        row = found.get(counter)
        if row is None:
            packets, size = totals[counter]
            before = earlier.get(counter, (0, 0))[0]
            row = found[counter] = Row(
                counter=counter,
                who=next(who for chain, who in WHO.items() if rule["chain"].startswith(chain)),
                verdict="allowed" if any("accept" in part for part in rule["expr"]) else refusal,
                what=rule["comment"],
                peers=[],
                packets=packets,
                bytes=size,
                # A counter that is behind has started again from zero: at a boot, say.
                since=packets - before if packets >= before else packets,
            )
        row.peers += [peer for peer in _peers(rule["expr"], sets) if peer not in row.peers]
    order = list(WHO.values())
    return sorted(found.values(), key=lambda row: (order.index(row.who), row.verdict != "allowed"))


def refuses(listing: list[dict[str, Any]]) -> bool:
    """Whether anything is rejected; in audit mode nothing is."""
    return any(
        "reject" in part for item in listing for part in item.get("rule", {}).get("expr", ())
    )


def set_elements(listing: list[dict[str, Any]], *names: str) -> list[str]:
    """The elements of these sets."""
    sets = (item["set"] for item in listing if "set" in item)
    return [
        _text(element) for each in sets if each["name"] in names for element in each.get("elem", [])
    ]


def shown_peers(row: Row) -> str:
    """The peers, or the first ones of many."""
    more = len(row.peers) - _SHOWN_PEERS
    text = ", ".join(row.peers[:_SHOWN_PEERS])
    return f"{text} and {more} more" if more > 0 else text


def _of_another(counter: str, instance: str) -> bool:
    parts = counter.split("/")
    return len(parts) > 2 and parts[2] != instance


def _peers(expressions: list[dict[str, Any]], sets: dict[str, list[Any]]) -> Iterator[str]:
    hosts, ports = ["any"], []
    for match in (part["match"] for part in expressions if "match" in part):
        values = [_text(value) for value in _values(match["right"], sets)]
        field = match["left"].get("payload", {}).get("field", "")
        if field in ("daddr", "saddr") or "concat" in match["left"]:
            hosts = values
        elif field == "dport":
            ports = values
    port = f" port {'/'.join(ports)}" if ports else ""
    if ports or hosts != ["any"]:
        yield from (f"{host}{port}" for host in hosts)


def _values(right: Any, sets: dict[str, list[Any]]) -> list[Any]:
    if isinstance(right, str) and right.startswith("@"):
        return sets.get(right[1:], [])
    if isinstance(right, dict) and "set" in right:
        return list(right["set"])
    return [right]


def _text(element: Any) -> str:
    if not isinstance(element, dict):
        return str(element)
    if "prefix" in element:
        return f"{element['prefix']['addr']}/{element['prefix']['len']}"
    if "range" in element:
        return "-".join(map(str, element["range"]))
    if "concat" in element:
        return " port ".join(map(_text, element["concat"]))
    return str(element)
