# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the copies of a state, as lines for people."""

from __future__ import annotations

import time

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import records
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.state import read_state
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.text_table import aligned, span

_REMEDIES = {
    "backup": "run backup.yml",
    "standby": "set mcp_tunnel_backup_recipients and run site.yml",
}


def copies_table(state_dir: str, standby_file: str) -> list[str]:
    """The lines; none for a host that has neither a state nor a copy."""
    now = time.time()
    rows = [*_of_the_state(state_dir, now), *_of_the_copy(standby_file, now)]
    return aligned([("copies of the state", "state", "detail"), *rows]) if rows else []


def _of_the_state(state_dir: str, now: float) -> list[tuple[str, ...]]:
    try:
        known = records.look(state_dir)
    except TunnelError as error:
        return [(state_dir, "notice", str(error))]
    if not known.state:
        return []
    wanted = set(known.copies) | _missed(state_dir)
    return [(kind, *_row(kind, known, now)) for kind in records.KINDS if kind in wanted]


def _missed(state_dir: str) -> set[str]:
    """The kinds of copies whose absence is shown: where the CA's key is, which is made only once.

    One replica alone has nobody who could keep a standby copy.
    """
    state = read_state(state_dir)
    if not state.text("ca.key"):
        return set()
    return set(records.KINDS) if len(state.replicas()) > 1 else {"backup"}


def _row(kind: str, known: records.Known, now: float) -> tuple[str, str]:
    """The state and the detail of the copies of one kind."""
    copy = known.copies.get(kind)
    if copy is None:
        return "notice", f"none is known; {_REMEDIES[kind]}"
    where = f" on {', '.join(copy.hosts)}" if copy.hosts else ""
    seen = f"made at {copy.made_at}, seen{where} {span(records.age(copy, now))} ago"
    if kind == "standby" and not copy.hosts:
        return "notice", f"{seen}, and no replica keeps it any more; {_REMEDIES[kind]}"
    if known.is_current(kind):
        return "ok", seen
    return "notice", f"{seen}, older than the state; {_REMEDIES[kind]}"


def _of_the_copy(standby_file: str, now: float) -> list[tuple[str, ...]]:
    status = secret_files.lstat(standby_file)
    if status is None:
        return []
    return [(standby_file, "ok", f"kept for the state host, {span(now - status.st_mtime)} old")]
