"""The commands that our drop-in adds to nftables.service, run with an nft that loads nothing."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

DROP_IN = Path(__file__).resolve().parents[3] / "roles/firewall/files/nftables.conf"
RULES = "/etc/nftables.d/mcp-tunnel.nft"
#: Whenever nftables.service may have emptied the ruleset.
MOMENTS = ("ExecStartPost", "ExecReload", "ExecStopPost")

SERVICES = "mcp-proxy@*.service mcp-cloudflared@*.service"
KILL = f"systemctl kill --signal=SIGKILL {SERVICES}"


def command(moment: str) -> str:
    """The one command line of the drop-in for a moment, without the continuations of its lines."""
    text = DROP_IN.read_text().replace("\\\n", " ")
    (found,) = re.findall(rf"(?m)^{moment}=(.*)", text)
    return found.replace("$$", "$")


def run(tmp_path: Path, moment: str, loaded: bool) -> tuple[list[str], str]:
    """What the command has called, in order, and what it has said."""
    calls = tmp_path / "calls"
    calls.touch()
    status = 0 if loaded else 1
    # systemctl's status counts for "is-active" alone: none is.
    for name, ends in (("nft", status), ("systemctl", 3)):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >>{calls}\nexit {ends}\n')
        program.chmod(0o755)
    line = command(moment).removeprefix("-").replace("/usr/sbin/nft", str(tmp_path / "nft"))
    done = subprocess.run(
        shlex.split(line),
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return calls.read_text().splitlines(), done.stderr


@pytest.mark.parametrize("moment", MOMENTS)
def test_rules_that_come_back_disturb_no_service(tmp_path, moment):
    assert run(tmp_path, moment, loaded=True) == ([f"nft -f {RULES}"], "")


@pytest.mark.parametrize("moment", MOMENTS)
def test_rules_that_do_not_come_back_end_the_services(tmp_path, moment):
    """Killed, and not brought back: their next start waits for the rules."""
    calls, said = run(tmp_path, moment, loaded=False)
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
def test_the_hosts_own_service_does_not_fail_for_ours(moment):
    assert command(moment).startswith("-")
