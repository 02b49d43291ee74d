# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of this stack in the kernel, by the nft command."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

NFT = "/usr/sbin/nft"
TABLE = ("inet", "mcp_tunnel")
_QUOTED_LINES = 8
_LIST = ("--numeric", "--json", "list", "table")

Listing = list[dict[str, Any]]


def check(rules: str) -> None:
    """Lets nft and the kernel judge *rules* (nft's language) without applying anything.

    :raises TunnelError: with what nft says, if they are refused.
    """
    _apply(["-c"], rules)


def load(rules: str) -> None:
    """Applies *rules* in one transaction: all of them, or none.

    :raises TunnelError: with what nft says, if they are refused.
    """
    _apply([], rules)


def listing(table: tuple[str, str] = TABLE) -> Listing | None:
    """Everything in a table, as libnftables-json(5) has it; None without table, or without nft.

    :raises TunnelError: if nft fails for another reason.
    """
    done = _run([*_LIST, *table])
    if done is None or "No such file or directory" in done.stderr:
        return None
    if done.returncode:
        raise _refusal(done)
    return _items(done)


def listing_of(rules: str, table: tuple[str, str]) -> Listing | None:
    """What :func:`listing` would have of a *table* after these *rules*: nothing is loaded here.

    A network namespace of its own takes them. None if this host cannot make one.

    :raises TunnelError: with what nft says, if the rules are refused.
    """
    script = f"{NFT} -f - && exec {NFT} {' '.join(_LIST)} {' '.join(table)}"
    command = ["unshare", "--net", "/bin/sh", "-c", script]
    try:
        done = subprocess.run(  # noqa: S603
            command, input=rules, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    if done.returncode and "unshare" in done.stderr:
        return None
    if done.returncode:
        raise _refusal(done)
    return _items(done)


def _items(done: subprocess.CompletedProcess[str]) -> Listing:
    found: Listing = json.loads(done.stdout)["nftables"]
    return found


def delete() -> None:
    """Removes our table, with everything in it.

    :raises TunnelError: if there is none, or nft fails.
    """
    _apply([], f"delete table {' '.join(TABLE)}\n")


def _apply(options: list[str], rules: str) -> None:
    done = _run([*options, "-f", "-"], rules)
    if done is None:
        raise TunnelError(NFT, "is not there", "Install the package nftables on this host")
    if done.returncode:
        raise _refusal(done)


def _run(arguments: list[str], text: str = "") -> subprocess.CompletedProcess[str] | None:
    """None if there is no nft."""
    try:
        return subprocess.run(  # noqa: S603
            [NFT, *arguments], input=text, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None


def _refusal(done: subprocess.CompletedProcess[str]) -> TunnelError:
    said = done.stderr.replace("/dev/stdin:", "line ").strip().splitlines()
    lines = said[:_QUOTED_LINES] or [f"nothing; it ended with status {done.returncode}"]
    return TunnelError(
        f"table {' '.join(TABLE)}",
        "nft refuses the rules, and those of before stay",
        "Compare the variables that they come from with docs/variables.md of the collection. nft "
        "says:" + "".join(f"\n    {line}" for line in lines),
    )
