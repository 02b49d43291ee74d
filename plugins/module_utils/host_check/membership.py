# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory of a replica: its state host, the replicas beside it, a copy of the state."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

_OURS = b"mcp_tunnels.stack replica"
_MOST = 500
_MARK = {"name", "machine", "since", "evidence"}


def identity(root: Path = Path("/")) -> str:
    """A mark of this installation, the same after every boot.

    machine-id(5) itself is not to leave the machine, so this is a keyed hash of it, as there
    recommended. Clones of one machine have the same; they have different names.
    """
    try:
        text = (root / "etc/machine-id").read_text(encoding="utf-8").strip()
    except OSError:
        text = ""
    return hmac.new(_OURS, text.encode(), hashlib.sha256).hexdigest()[:16]


def remembered(path: str) -> dict[str, Any]:
    """``state_host``, ``replicas`` and ``breached`` in the replica's file; empty ones without it.

    ``breached``: the marks of hosts that were broken into, as the state host has told them.

    :raises TunnelError: if it is no such file.
    """
    content = secret_files.read_file(path) if path else None
    if content is None:
        return {"state_host": "", "replicas": [], "breached": []}
    try:
        found = json.loads(content)
        state_host, replicas = found["state_host"], found["replicas"]
        marks = found.get("breached", [])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _unreadable(path) from None
    if not isinstance(marks, list) or len(marks) > _MOST or not all(map(_is_mark, marks)):
        raise _unreadable(path)
    if not isinstance(replicas, list) or len(replicas) > _MOST:
        raise _unreadable(path)
    if not all(isinstance(name, str) for name in (state_host, *replicas)):
        raise _unreadable(path)
    return {"state_host": state_host, "replicas": replicas, "breached": marks}


def _is_mark(each: Any) -> bool:
    texts = isinstance(each, dict) and all(isinstance(value, str) for value in each.values())
    return texts and set(each) == _MARK


def standby(path: str) -> str:
    """SHA-256 of the copy of the state that the replica keeps; empty without one."""
    content = secret_files.read_file(path) if path else None
    return hashlib.sha256(content).hexdigest() if content else ""


def _unreadable(path: str) -> TunnelError:
    return TunnelError(
        path,
        "cannot be read: it should name the state host and the replicas",
        "Set mcp_tunnel_state_host, make sure that the inventory has every replica, and remove the "
        "file; the next run of site.yml writes it anew",
    )
