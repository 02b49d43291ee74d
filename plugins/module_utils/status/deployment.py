# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The traces of a deployment: the releases of an instance, its certificate, its last run."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest, secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.records import (
    FirewallRecords,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import deployed
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import (
    RECORDS,
    Records,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.releases import PARTS
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.status.parts import (
    FAILED,
    NOTICE,
    OK,
    Part,
    worst,
)

VERSIONS: Part = {**dict.fromkeys(PARTS, ""), "cloudflared_running": "", "proxy_running": ""}
CERTIFICATE: Part = {
    "fingerprint": "", "not_after": "", "days_left": None,
    "ca_fingerprint": "", "ca_not_after": "", "ca_days_left": None, "remedy": "",
}  # fmt: skip
SECRETS: Part = {"token": "", "key": "", "ca_key": ""}
LAST_RUN: Part = {
    "started_at": "", "applied_at": "", "proven_at": "", "proven": None, "remedy": "",
}  # fmt: skip
STATES = Path("/var/lib/mcp-tunnel")
# As the alerts do: docs/monitoring/alerts.yml.
_SOON_DAYS, _LATE_DAYS = 14, 1
# No certificate outlasts its CA, and one lives this long.
_CA_SOON_DAYS = 90
_DAY = 86400
_NOT_PROVEN = (
    "The replica was not proven with its present state, because a run has failed or was "
    "interrupted. Run the site playbook"
)
_AWAY = "The replica is drained, and is proven only at the edge. Run undrain.yml"


def versions(instance: str) -> Part:
    """The releases with which the services were started last."""
    applied = Records(instance, RECORDS).load("applied")
    return {state["part"]: state["version"] for state in applied.values()}


def certificate(instance: str, now: datetime) -> Part:
    """The server certificate on disk, and the CA that it is verified against."""
    directory = deployed.CONFIGURATIONS / instance
    own = _loaded(directory / "tls" / "tls.crt")
    ca = _loaded(directory / "ca.crt")
    days, ca_days = _days(own, now), _days(ca, now)
    own_state = _judged(days, _SOON_DAYS)
    ca_state = _judged(ca_days, _CA_SOON_DAYS)
    remedy = "" if own_state == OK else "Run renew_cert.yml"
    if ca_state != OK:
        remedy = "Rotate the CA (rotate_ca.yml): no certificate of it can last longer"
    return {
        "state": worst((own_state, ca_state)),
        "fingerprint": crypto.fingerprint(own),
        "not_after": crypto.timestamp(crypto.not_after(own)),
        "days_left": days,
        "ca_fingerprint": crypto.fingerprint(ca),
        "ca_not_after": crypto.timestamp(crypto.not_after(ca)),
        "ca_days_left": ca_days,
        "remedy": remedy,
    }


def secrets(instance: str) -> Part:
    """In which form each secret is on the disk, one of at_rest.FORMS; empty for one without a file.

    By the files alone. The services show whether systemd can decrypt them.
    """
    directory = deployed.CONFIGURATIONS / instance
    paths = {
        "token": directory / "tunnel-token",
        "key": directory / "tls" / "tls.key",
        "ca_key": STATES / instance / "ca.key",
    }
    found = {name: secret_files.read_file(str(path)) for name, path in paths.items()}
    return {name: at_rest.form_of(content) if content else "" for name, content in found.items()}


def last_run(instance: str) -> Part:
    """When a run has last begun here, changed something, and proven the replica."""
    records = Records(instance, RECORDS)
    applied, good = records.load("applied"), records.load("good")
    look = FirewallRecords().looks(instance).get("last", {})
    directory = RECORDS / instance
    proven = bool(applied) and applied == good
    return {
        "state": OK if proven else NOTICE,
        "started_at": _timestamp(look.get("at")),
        "applied_at": _changed_at(directory / "applied.json"),
        "proven_at": _changed_at(directory / "good.json"),
        "proven": proven,
        "remedy": "" if proven else _AWAY if deployed.drained(instance) else _NOT_PROVEN,
    }


def _loaded(path: Path) -> Any:
    return crypto.load_certificate(deployed.text(path), str(path))


def _days(certificate: Any, now: datetime) -> int:
    """Whole days that remain; negative ones have passed since the end."""
    return int((crypto.not_after(certificate) - now).total_seconds() // _DAY)


def _judged(days: int, soon: int) -> str:
    if days < _LATE_DAYS:
        return FAILED
    return NOTICE if days < soon else OK


def _changed_at(path: Path) -> str:
    try:
        return _timestamp(os.stat(path).st_mtime)
    except FileNotFoundError:
        return ""


def _timestamp(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return crypto.timestamp(datetime.fromtimestamp(seconds, timezone.utc))
