"""The rules on the hosts, and the playbook that loads only them."""

from __future__ import annotations

import json
import re
from typing import Any

from replicas import HOSTS, play, recap
from testinfra.host import Host

UNIT = "mcp-tunnel-firewall"
DIRECTORY = "/etc/nftables.d"
RULES = f"{DIRECTORY}/mcp-tunnel.nft"
SERVICES = ("mcp-proxy@default", "mcp-cloudflared@default")
#: The firewall part of site.yml, alone.
PLAYBOOK = "../molecule/shared/firewall_rules"


def load_rules(*arguments: str, **variables: Any) -> dict[str, dict[str, int]]:
    """Load the rules on all hosts at once, with these variables; return the play's recap."""
    together = {"mcp_tunnel_batch": "100%", **variables}
    done = play("--extra-vars", json.dumps(together), *arguments, playbook=PLAYBOOK)
    assert done.returncode == 0, done.stdout[-4000:]
    return recap(done.stdout)


def changes_nothing(recapped: dict[str, dict[str, int]]) -> None:
    """Assert that a run has found every host as it should be."""
    assert {name: counters["changed"] for name, counters in recapped.items()} == dict.fromkeys(
        HOSTS, 0
    )


def table(host: Host) -> str:
    """Return our table in the kernel, without the counts."""
    return uncounted(host.check_output("nft --numeric list table inet mcp_tunnel"))


def uncounted(listing: str) -> str:
    """Return a listing of nft's without the counts."""
    return re.sub(r"packets \d+ bytes \d+", "", listing)


def foreign(host: Host) -> str:
    """Return all tables except ours, without the counts: nft lists one after the other."""
    listing = host.check_output("nft --numeric list ruleset")
    parts = re.split(r"^(?=table )", uncounted(listing), flags=re.MULTILINE)
    ours = "table inet mcp_tunnel "
    # nft puts newlines between tables; they are left out.
    return "\n".join(part.strip() for part in parts if not part.startswith(ours))


def files(host: Host) -> str:
    """Return every file of rules: its owner, mode, and contents."""
    return str(
        host.check_output(
            f"find {DIRECTORY} -type f -printf '%p %u:%g %m\\n' -exec sha256sum {{}} + | sort"
        )
    )
