"""A host like an LXC or Incus container, whose image undoes settings of every service."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from replicas import HOSTS, play, recap, shell
from testinfra.host import Host

NAME = HOSTS[0]
UNIT = "mcp-cloudflared@default"
DROP_IN = "/run/systemd/system/service.d/zzz-lxc-service.conf"
#: The drop-in that the generator of such an image writes.
TEXT = r"[Service]\nProcSubset=all\nProtectProc=default\nNoNewPrivileges=no\nLoadCredential=\n"
TOKEN = f"/run/credentials/{UNIT}.service/tunnel-token"
#: Waits until cloudflared is connected again: other tests count on it.
CONNECTED = (
    "for try in $(seq 120); do sleep 0.5; "
    "python3 -c 'import urllib.request as u; u.urlopen(\"http://127.0.0.1:20241/ready\")' "
    "2>/dev/null && exit; done; exit 1"
)


@pytest.fixture
def container() -> Iterator[Host]:
    host = shell(NAME)
    before = host.check_output("ls /etc/systemd/system")
    host.check_output(f"mkdir -p $(dirname {DROP_IN}) && printf '{TEXT}' >{DROP_IN}")
    host.check_output("systemctl daemon-reload")
    yield host
    host.check_output(f"rm -r {DROP_IN}")
    host.run("rm -r /etc/systemd/system/mcp-cloudflared@.service.d")
    host.check_output(f"systemctl daemon-reload && systemctl restart {UNIT}")
    host.check_output(CONNECTED)
    assert host.check_output("ls /etc/systemd/system") == before


def test_a_container_that_empties_the_credential(container: Host) -> None:
    """It is refused before a change, not blamed on the edge, and cured by the message's remedy."""
    refused = play()
    assert refused.returncode != 0
    assert all(counters["changed"] == 0 for counters in recap(refused.stdout).values())
    said = refused.stdout + refused.stderr
    assert f"{DROP_IN}: empties LoadCredential=" in said

    container.check_output(f"systemctl restart {UNIT}")
    verified = play("-e", "mcp_tunnel_health_timeout=1", playbook="verify")
    assert verified.returncode != 0
    rows = [line for line in verified.stdout.splitlines() if "FAILED" in line and " edge " in line]
    assert rows == []
    assert "empties LoadCredential=" in verified.stdout + verified.stderr

    commands = re.search(r"(mkdir -p .* && systemctl daemon-reload)", said)
    assert commands
    container.check_output(commands.group(1))
    container.check_output(f"systemctl restart {UNIT}")
    assert container.file(TOKEN).exists
