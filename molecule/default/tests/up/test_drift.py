"""Drift on real hosts: seen, reported, left alone, and gone with the next deployment."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from replicas import HOSTS, play, shell

EXPORTER = "/var/lib/prometheus/node-exporter"
REPORT = f"{EXPORTER}/mcp_tunnel_drift_default.prom"
SETTINGS = "/etc/mcp-tunnel/default/cloudflared.env"
VARIABLES = ("--extra-vars", f"mcp_tunnel_textfile_dir={EXPORTER}")


@pytest.fixture
def exporters() -> Iterator[None]:
    """The directory of a node exporter on every host."""
    for name in HOSTS:
        shell(name).check_output(f"mkdir -p {EXPORTER}")
    yield
    for name in HOSTS:
        shell(name).check_output("rm -r /var/lib/prometheus")


def drifted(name: str) -> set[str]:
    """The parts that the report of a host says differ."""
    text = shell(name).check_output(f"cat {REPORT}")
    return set(re.findall(r'^mcp_tunnel_drift\{.*part="(\w+)"\} 1$', text, re.MULTILINE))


def compared_at(name: str) -> int:
    """When the report of a host says that it was compared."""
    text = shell(name).check_output(f"cat {REPORT}")
    (found,) = re.findall(r"^mcp_tunnel_drift_check_timestamp_seconds\{.*\} (\d+)$", text, re.M)
    return int(found)


@pytest.mark.usefixtures("exporters")
def test_what_somebody_has_changed_on_a_host() -> None:
    changed, untouched = shell(HOSTS[1]), HOSTS[0]
    changed.check_output(f"echo '# by hand' >> {SETTINGS}")
    changed.check_output("nft insert rule inet mcp_tunnel output accept")
    done = play("--check", *VARIABLES, playbook="drift")
    assert done.returncode != 0
    assert f"{HOSTS[1]} differs from the inventory" in done.stdout, done.stdout[-3000:]
    assert f"{untouched} differs" not in done.stdout
    assert drifted(untouched) == set()
    # Services would be restarted with the file as it should be.
    assert drifted(HOSTS[1]) == {"files", "firewall", "services"}
    assert "by hand" in changed.check_output(f"cat {SETTINGS}")
    seen = {name: compared_at(name) for name in HOSTS}
    now = int(changed.check_output("date +%s"))
    assert all(now - 300 < at <= now for at in seen.values())
    here = ("--limit", HOSTS[1])
    assert play(*here).returncode == 0
    done = play("--check", *here, *VARIABLES, playbook="drift")
    assert done.returncode == 0, done.stdout[-3000:]
    assert drifted(HOSTS[1]) == set()
    assert compared_at(HOSTS[1]) > seen[HOSTS[1]]
    assert compared_at(untouched) == seen[untouched]
