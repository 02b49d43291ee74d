"""What each service of ours could do, as this machine's systemd measures its file.

The scenarios measure what is on hosts; a unit of rare days may be on none of them.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROLES = Path(__file__).resolve().parents[3] / "roles"
UNITS = {path.name: path for path in ROLES.glob("*/files/*.service")}
MOST = 1.5
# It has ended before there is a network or a process that could ask something of it.
LOADS_RULES = "mcp-tunnel-firewall.service"


@pytest.mark.parametrize("unit", sorted(UNITS.keys() - {LOADS_RULES}))
def test_no_service_could_do_too_much(tmp_path, unit):
    # systemd-analyze wants an instance of a template.
    path = tmp_path / unit.replace("@.", "@default.")
    path.write_text(UNITS[unit].read_text())
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", path],
        capture_output=True,
        text=True,
        check=True,
    )
    (level,) = re.findall(r"exposure level for \S+: ([0-9.]+) ", done.stdout)
    assert float(level) <= MOST


def test_all_are_found():
    assert {LOADS_RULES, "mcp-proxy@.service", "mcp-tunnel-containment.service"} <= UNITS.keys()
