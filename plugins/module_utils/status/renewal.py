# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The renewal by the timer: when it is due, when it could be done last, and whether it can be."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from functools import lru_cache

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.duration import parse_duration
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import deployed
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import renewal as timer
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.finding import Finding
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import (
    LAST_SUCCESS,
    RECORDS,
    Records,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.status.parts import (
    NOTICE,
    OK,
    Part,
)

RENEWAL: Part = {
    "wanted": None, "due_at": "", "next_look_at": "", "last_success_at": "", "would_sign": None,
    "detail": "", "remedy": "",
}  # fmt: skip
# An archive for support has no more time for the whole status.
_SECONDS = 10.0
# The state host is not asked again at each look of --watch.
_KEPT_SECONDS = 300


def renewal(instance: str) -> Part:
    """The renewal of an instance, with one question to its state host.

    A replica that could not renew works, until its certificate ends.
    """
    if not systemd.show([timer.timer_of(instance)])[0].loaded:
        return {"wanted": False}
    found = _asked(instance, int(time.monotonic() // _KEPT_SECONDS))
    return {
        "state": OK if found.ok else NOTICE,
        "wanted": True,
        "due_at": _due(instance),
        "next_look_at": _text(systemd.next_elapse(timer.timer_of(instance))),
        "last_success_at": _last_success(instance),
        "would_sign": found.ok,
        "detail": found.detail,
        "remedy": found.remedy,
    }


@lru_cache(maxsize=64)
def _asked(instance: str, _period: int) -> Finding:
    return timer.look(instance, _SECONDS)


def _due(instance: str) -> str:
    """When the certificate is due; ``""`` if that is not known, which another part explains."""
    try:
        path = deployed.CONFIGURATIONS / instance / "tls" / "tls.crt"
        certificate = crypto.load_certificate(deployed.text(path), str(path))
        before = parse_duration(timer.settings(instance).renew_before)
    except TunnelError:
        return ""
    return crypto.timestamp(crypto.not_after(certificate) - before)


def _last_success(instance: str) -> str:
    seconds = Records(instance, RECORDS).written_at(LAST_SUCCESS)
    return _text(None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc))


def _text(moment: datetime | None) -> str:
    return crypto.timestamp(moment) if moment else ""
