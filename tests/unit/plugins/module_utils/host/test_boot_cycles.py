"""Cycles of orderings, found in the output of systemd-analyze."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import boot_cycles

# systemd 252 and 257 print it like this.
OURS = """\
nftables.service: Found ordering cycle on mcp-tunnel-firewall.service/start
nftables.service: Found dependency on nftables.service/start
nftables.service: Job mcp-tunnel-firewall.service/start deleted to break ordering cycle starting \
with nftables.service/start
"""
OTHER_BREAK = """\
mcp-tunnel-firewall.service: Found ordering cycle on nftables.service/start
mcp-tunnel-firewall.service: Found dependency on mcp-tunnel-firewall.service/start
mcp-tunnel-firewall.service: Job nftables.service/start deleted to break ordering cycle starting \
with mcp-tunnel-firewall.service/start
"""
THEIRS = """\
a.service: Found ordering cycle on b.service/start
a.service: Found dependency on a.service/start
a.service: Job b.service/start deleted to break ordering cycle starting with a.service/start
"""
PART = THEIRS.replace(
    "a.service: Found dependency on a.service/start",
    "a.service: Found dependency on mcp-proxy@default.socket/start\n"
    "a.service: Found dependency on a.service/start",
)
NOISE = "/etc/systemd/system/x.service:3: Unknown key name 'Xyz' in section 'Unit', ignoring.\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (NOISE, []),
        (THEIRS, []),
        (NOISE + THEIRS + OURS, [("mcp-tunnel-firewall.service", "nftables.service")]),
        (PART, [("mcp-proxy@default.socket", "a.service", "b.service")]),
        # The same circle, entered elsewhere and broken elsewhere.
        (OURS + OTHER_BREAK, [("mcp-tunnel-firewall.service", "nftables.service")]),
    ],
)
def test_only_cycles_with_units_of_ours(monkeypatch, text, found):
    def run(command, **_options):
        return subprocess.CompletedProcess(command, 0, "", text)

    monkeypatch.setattr(subprocess, "run", run)
    assert boot_cycles.cycles() == found


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), subprocess.TimeoutExpired(boot_cycles.COMMAND, 30)]
)
def test_what_could_not_be_tried(monkeypatch, error):
    def run(*_arguments, **_options):
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    assert boot_cycles.cycles() is None
