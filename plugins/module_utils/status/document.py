# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole status of this host. docs/support.md describes its form, which stays."""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import deployed
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.releases import (
    PARTS,
    Releases,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.status import (
    deployment,
    health,
    renewal,
    traffic,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.status.parts import (
    Part,
    clean,
    is_healthy,
    part,
)

#: Goes up when a key gets another meaning or goes away; new keys may come at any time.
FORMAT = 1
#: The parts of an instance, in the order in which one debugs.
ORDER = (
    *("layers", "certificate", "secrets", "renewal", "edge", "traffic", "firewall", "versions"),
    "last_run",
)


def look(names: Sequence[str], now: datetime | None = None) -> dict[str, Any]:
    """The status of the instances *names* of this host. A host without any is not healthy."""
    now = now or crypto.utc_now()
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda name: _instance(name, now), names))
    return {
        "format": FORMAT,
        "host": clean(socket.gethostname()),
        "at": crypto.timestamp(now),
        "healthy": bool(found) and all(item["healthy"] for item in found),
        "python": platform.python_version(),
        "releases": {name: Releases(name).current() for name in PARTS},
        "instances": found,
    }


def _instance(name: str, now: datetime) -> dict[str, Any]:
    reads: dict[str, tuple[Callable[[], Part], Part]] = {
        "layers": (partial(health.layers, name), health.LAYERS),
        "certificate": (partial(deployment.certificate, name, now), deployment.CERTIFICATE),
        "secrets": (partial(deployment.secrets, name), deployment.SECRETS),
        "renewal": (partial(renewal.renewal, name), renewal.RENEWAL),
        "edge": (partial(traffic.edge, name), traffic.EDGE),
        "traffic": (partial(traffic.traffic, name), traffic.TRAFFIC),
        "firewall": (partial(health.firewall, name), health.FIREWALL),
        "versions": (partial(_versions, name), deployment.VERSIONS),
        "last_run": (partial(deployment.last_run, name), deployment.LAST_RUN),
    }
    with ThreadPoolExecutor(len(reads)) as pool:
        parts = dict(zip(reads, pool.map(lambda read: part(*read), reads.values())))
    return {
        "instance": name,
        "domain": part(lambda: {"domain": deployed.domain(name)}, {"domain": ""})["domain"],
        "healthy": is_healthy(item["state"] for item in parts.values()),
        **parts,
    }


def _versions(name: str) -> Part:
    return {**deployment.versions(name), **traffic.running(name)}
