"""The laboratory's Tunnels API as the tests see it: its state, and the calls that it got."""

from __future__ import annotations

import json
from typing import Any

from replicas import LAB_NAME, lab


def status() -> dict[str, Any]:
    """Return everything that the API knows, except secrets."""
    answer: dict[str, Any] = json.loads(lab("api", LAB_NAME, "status"))
    return answer


#: The calls of a first run. A look after each change finds a run that does the same meanwhile.
FIRST_CALLS = [
    *("exchange", "list", "create", "list"),
    *("list_certificates", "add_certificate", "list_certificates"),
    "reveal_token",
]
#: Calls that change nothing.
QUESTIONS = {"exchange", "list", "get", "list_certificates", "get_certificate", "reveal_token"}
#: The calls of a run with nothing to do.
NEXT_CALLS = ["exchange", "get", "list_certificates", "reveal_token"]


def asked(since: int = 0, name: str = LAB_NAME) -> list[dict[str, Any]]:
    """Return the calls, from number *since* on."""
    return [
        json.loads(line)
        for line in lab("api", name, "audit", "--since", str(since)).splitlines()
        if line
    ]


def the_tunnel(domain: str) -> dict[str, Any]:
    """Return the tunnel with this domain."""
    found: dict[str, Any] = next(
        tunnel for tunnel in status()["tunnels"] if tunnel["domain"] == domain
    )
    return found


def active(tunnel: dict[str, Any]) -> list[str]:
    """Return the fingerprints of the tunnel's registered, unarchived CAs, in their order."""
    return [each["fingerprint"] for each in tunnel["certificates"] if not each["archived_at"]]
