"""How much each service of ours could do, as systemd measures it."""

from __future__ import annotations

import re

from testinfra.host import Host

#: The highest overall exposure that systemd-analyze may print.
EXPOSURE = 1.5
# It has ended before there is a network or a process that could ask something of it.
_LOADS_RULES = "mcp-tunnel-firewall.service"
_LIST = "systemctl list-unit-files --no-legend --type=service 'mcp-*'"


def measured(host: Host, arguments: str) -> dict[str, float]:
    """Return the exposures that ``systemd-analyze security`` prints, by the names of the units."""
    said = host.check_output(f"systemd-analyze security --no-pager {arguments}")
    found = re.findall(r"exposure level for (\S+): ([0-9.]+) ", said)
    return {unit: float(level) for unit, level in found}


def all_are_hardened(host: Host, *expected: str) -> None:
    """Assert that no service of ours on the host, by its files, could do too much.

    The *expected* ones must be among them. Templates are measured as those of an instance.
    """
    listed = [line.split()[:2] for line in host.check_output(_LIST).splitlines()]
    units = {name.replace("@.", "@default.") for name, _state in listed}
    units -= {name for name, state in listed if state == "masked"}  # they never start
    assert {f"{unit}.service" for unit in expected} <= units
    exposures = measured(host, " ".join(sorted(units)))
    assert exposures.keys() == units
    too_much = {unit: level for unit, level in exposures.items() if level > EXPOSURE}
    assert too_much.keys() <= {_LOADS_RULES}, too_much
