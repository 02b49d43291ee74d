"""The rules on the hosts, and the playbook that settles nothing but them."""

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


def settle(*arguments: str, **variables: Any) -> dict[str, dict[str, int]]:
    """Settle the rules, on all hosts at once, with these variables; return the play's recap."""
    together = {"mcp_tunnel_batch": "100%", **variables}
    done = play("--extra-vars", json.dumps(together), *arguments, playbook=PLAYBOOK)
    assert done.returncode == 0, done.stdout[-4000:]
    return recap(done.stdout)


def changes_nothing(recapped: dict[str, dict[str, int]]) -> None:
    """Whether a run has found every host as it should be."""
    assert {name: counters["changed"] for name, counters in recapped.items()} == dict.fromkeys(
        HOSTS, 0
    )


def table(host: Host) -> str:
    """Our table in the kernel, without what is counted."""
    return uncounted(host.check_output("nft --numeric list table inet mcp_tunnel"))


def uncounted(listing: str) -> str:
    """A listing of nft's without what is counted."""
    return re.sub(r"packets \d+ bytes \d+", "", listing)


def foreign(host: Host) -> str:
    """All tables but ours, without what is counted: nft lists one after the other."""
    listing = host.check_output("nft --numeric list ruleset")
    parts = re.split(r"^(?=table )", uncounted(listing), flags=re.MULTILINE)
    ours = "table inet mcp_tunnel "
    # Without the newlines, which nft puts between tables.
    return "\n".join(part.strip() for part in parts if not part.startswith(ours))


def files(host: Host) -> str:
    """Every file of rules, its owner, mode, and contents."""
    return str(
        host.check_output(
            f"find {DIRECTORY} -type f -printf '%p %u:%g %m\\n' -exec sha256sum {{}} + | sort"
        )
    )
