# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of an instance and its firewall: the same judgement as that of the playbook verify."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.report import report
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.state import Firewall
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import deployed, health
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.finding import Finding
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.status.parts import (
    FAILED,
    NOTICE,
    OK,
    Part,
    worst,
)

LAYERS: Part = {"rows": []}
FIREWALL: Part = {
    "loaded": None, "on_trial": None, "proven": None, "rows": [],
    "refused": {}, "refused_since": {},
}  # fmt: skip
# Each waits for an upstream that may not answer, and costs no processor time meanwhile.
_AT_ONCE = 16


def layers(instance: str) -> Part:
    """The findings about the instance, each looked at once."""
    try:
        findings = _examined(deployed.replica(instance))
    except TunnelError as error:
        findings = _without_configuration(instance, error)
    rows = [{**_row(item), "layer": item.layer, "unit": item.unit} for item in findings]
    return {"rows": rows, "state": worst(_judged(item) for item in findings)}


def firewall(instance: str) -> Part:
    """The firewall in front of the instance, and how many packets it has refused."""
    here = Firewall()
    told = report(here, instance, deploying=False, try_filter=False)
    rows = [
        {name: item[name] for name in ("object", "state", "detail", "remedy")}
        for item in told["findings"]
    ]
    refused = [row for row in told["rows"] if row["verdict"] != "allowed"]
    return {
        "state": worst(item["state"] for item in told["findings"]),
        "loaded": any(row["object"].startswith("table ") for row in rows) and _is_loaded(rows),
        "on_trial": bool(here.records.on_trial(instance)),
        "proven": _is_proven(here, instance),
        "refused": {row["counter"]: row["packets"] for row in refused},
        "refused_since": {row["counter"]: row["since"] for row in refused if row["since"]},
        "rows": rows,
    }


def _is_loaded(rows: list[dict[str, Any]]) -> bool:
    return not any("is not loaded" in row["detail"] for row in rows)


def _is_proven(here: Firewall, instance: str) -> bool:
    """Whether the rules on disk are those with which a replica was proven last."""
    rules, good = here.files.read(), here.records.good()
    return (rules.host, rules.instances.get(instance)) == (
        good.host,
        good.instances.get(instance),
    )


def _examined(replica: health.Replica) -> list[Finding]:
    """All layers. Upstreams are asked at the same time: one that is silent costs ten seconds."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        of_routes = pool.map(partial(health.route, replica), replica.routes)
        findings = health.examine(replace(replica, routes={}), timeout=0)
        return findings + [item for found in of_routes for item in found]


def _without_configuration(instance: str, error: TunnelError) -> list[Finding]:
    units = [deployed.proxy_unit(instance), deployed.cloudflared_unit(instance)]
    found = [health.service(unit, None) for unit in systemd.show(units)]
    return [*found, Finding("configuration", error.subject, False, error.problem, error.remedy)]


def _row(item: Finding) -> dict[str, Any]:
    row = asdict(item)
    return {
        "object": row["object"],
        "state": item.state,
        "detail": row["detail"],
        "remedy": "" if item.ok else row["remedy"],
    }


def _judged(item: Finding) -> str:
    if item.ok:
        # Drained, or in maintenance: as an operator wants it, and worth a look.
        return NOTICE if item.purpose else OK
    return FAILED if item.required else NOTICE
