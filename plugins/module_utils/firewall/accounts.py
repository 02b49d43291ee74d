# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The accounts in the rules: the kernel knows numbers, and those of a host may change.

Each account has a set ``account/<name>`` in our table, which nft fills with its number when the
rules are loaded.
"""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import Any

_PREFIX = "account/"
_PASSWD = Path("/etc/passwd")


def is_account(name: str) -> bool:
    """Whether this is the name of a set that holds an account's number."""
    return name.startswith(_PREFIX)


def changed(listing: list[dict[str, Any]]) -> list[str]:
    """Accounts whose number is not the one in the kernel, as texts; loading the rules mends it.

    :param listing: our table, as libnftables-json(5) has it, with numbers for users.
    """
    held = _held(listing)
    if not held:
        return ["the rules name no account"]
    texts = []
    for name, numbers in held.items():
        number = _number(name)
        shown = ", ".join(map(str, numbers)) or "nobody"
        if number is None:
            texts.append(f"{name} is no account any more, and {shown} in the rules")
        elif numbers != [number]:
            texts.append(f"{name} is user {number} on this host, and {shown} in the rules")
    return texts


def shared(listing: list[dict[str, Any]]) -> list[str]:
    """Accounts of /etc/passwd whose number is that of an account of the rules, as texts."""
    owners: dict[int, list[str]] = {}
    for name, number in _local():
        owners.setdefault(number, []).append(name)
    texts = []
    for name in _held(listing):
        own = _number(name)
        others = [each for each in owners.get(own or 0, []) if each != name]
        if own and others:  # other names of root are root
            texts.append(f"{', '.join(others)} has the number of {name}, {own}")
    return texts


def _held(listing: list[dict[str, Any]]) -> dict[str, list[Any]]:
    sets = [item["set"] for item in listing if "set" in item]
    return {
        each["name"][len(_PREFIX) :]: each.get("elem", [])
        for each in sets
        if is_account(each["name"])
    }


def _number(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _local() -> list[tuple[str, int]]:
    """Names and numbers in passwd(5)."""
    lines = _PASSWD.read_text(encoding="utf-8", errors="replace").splitlines()
    entries = [line.split(":") for line in lines]
    return [
        (entry[0], int(entry[2])) for entry in entries if len(entry) > 2 and entry[2].isdecimal()
    ]
