"""The program that our drop-in adds to nftables.service, run with an nft that loads nothing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles/firewall/files"
PROGRAM = "mcp-tunnel-restore.sh"
RULES = "/etc/nftables.d/mcp-tunnel.nft"
#: nftables.service may have emptied the ruleset at each of these points.
MOMENTS = ("ExecStartPost", "ExecReload", "ExecStopPost")

SERVICES = "mcp-proxy@*.service mcp-cloudflared@*.service"
KILL = f"systemctl kill --signal=SIGKILL {SERVICES}"


def run(tmp_path: Path, loaded: bool) -> tuple[list[str], str]:
    """Return the programs that ours has called, in order, and its output."""
    calls = tmp_path / "calls"
    calls.touch()
    status = 0 if loaded else 1
    # Only "is-active" depends on systemctl's status: no unit is active.
    for name, ends in (("nft", status), ("systemctl", 3)):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >>{calls}\nexit {ends}\n')
        program.chmod(0o755)
    text = (FILES / PROGRAM).read_text().replace("/usr/sbin/nft", str(tmp_path / "nft"))
    (tmp_path / PROGRAM).write_text(text)
    done = subprocess.run(
        ["/bin/sh", tmp_path / PROGRAM],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return calls.read_text().splitlines(), done.stderr


def test_rules_that_come_back_disturb_no_service(tmp_path):
    assert run(tmp_path, loaded=True) == ([f"nft -f {RULES}"], "")


def test_rules_that_do_not_come_back_end_the_services(tmp_path):
    """They are killed, and not brought back: their next start waits for the rules."""
    calls, said = run(tmp_path, loaded=False)
    assert calls == [
        f"nft -f {RULES}",
        KILL,
        f"systemctl is-active --quiet {SERVICES}",
        "systemctl --no-block try-restart mcp-tunnel-firewall.service",
        KILL,
    ]
    assert said.startswith("<2>MCP tunnels: ")
    assert "journalctl -u mcp-tunnel-firewall" in said


@pytest.mark.parametrize("moment", MOMENTS)
def test_it_runs_whenever_the_ruleset_was_emptied(moment):
    """The host's own service does not fail because of ours."""
    (command,) = re.findall(rf"(?m)^{moment}=(.*)", (FILES / "nftables.conf").read_text())
    assert command == f"-/bin/sh /etc/nftables.d/mcp-tunnel.d/{PROGRAM}"
