# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a listing of our table: whether it is still what was loaded, and what was counted."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    accounts as firewall_accounts,
)

# Keys that the kernel adds to the loaded rules, and keys that change while packets pass.
_VOLATILE = {"handle", "packets", "bytes"}
# Elements of named and of anonymous sets, which a hash may list in any order.
_UNORDERED = {"elem", "set"}
_EMPTY_COUNTER = re.compile(r"^([ \t]*counter (\S+) )\{ \}$", re.MULTILINE)

Counters = dict[str, list[int]]


def digest(listing: list[dict[str, Any]]) -> str:
    """A digest that is equal for equal rules, independent of reloads and counts.

    The numbers of accounts are left out: they may change between two boots, and are compared with
    the accounts themselves.
    """
    lasting = [_lasting(_unnumbered(item)) for item in listing if "metainfo" not in item]
    return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()


def nft_version(listing: list[dict[str, Any]]) -> str:
    """Version of the nft that made the listing: another may describe the same rules differently."""
    return next((item["metainfo"]["version"] for item in listing if "metainfo" in item), "")


def counters(listing: list[dict[str, Any]] | None) -> Counters:
    """Packets and bytes of every named counter."""
    found = (item["counter"] for item in listing or () if "counter" in item)
    return {counter["name"]: [counter["packets"], counter["bytes"]] for counter in found}


def continued(rules: str, totals: Counters) -> str:
    """The *rules* (nft's language) with counters that go on from their *totals*."""

    def begin(match: re.Match[str]) -> str:
        packets, size = totals.get(match[2], (0, 0))
        return f"{match[1]}{{ packets {packets} bytes {size} }}"

    return _EMPTY_COUNTER.sub(begin, rules)


def _unnumbered(item: dict[str, Any]) -> dict[str, Any]:
    if firewall_accounts.is_account(item.get("set", {}).get("name", "")):
        return {"set": {key: value for key, value in item["set"].items() if key != "elem"}}
    return item


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _ordered(_lasting(item)) if key in _UNORDERED else _lasting(item)
            for key, item in value.items()
            if key not in _VOLATILE
        }
    if isinstance(value, list):
        return [_lasting(item) for item in value]
    return value


def _ordered(elements: Any) -> Any:
    return sorted(elements, key=json.dumps) if isinstance(elements, list) else elements
