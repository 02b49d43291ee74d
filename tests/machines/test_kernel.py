"""What only a machine's own kernel does: its log of refused packets, and protocols as modules."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lab.core.checkouts import ROOT
from lab.network.addresses import INTERNET_V4, NEIGHBOUR
from tests.machines.deployed import Deployed

pytestmark = pytest.mark.exhaustive

_CONNECT = "import socket; socket.create_connection(('{address}', 443), 5)"

#: One attempt: the packet that asks for an association (INIT) is enough.
_SCTP = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as sock:
    sock.settimeout(5)
    try:
        sock.connect(("{address}", 443))
    except OSError as error:
        print(error.strerror or "timed out")
"""


def test_the_kernel_logs_what_the_firewall_refuses(deployed: Deployed) -> None:
    """In a container, and in any network namespace but the first, it logs nothing."""
    for host in deployed.hosts:
        begun = deployed.root(host, "date +%s")
        script = _CONNECT.format(address=INTERNET_V4)
        status, _ = deployed.tried(host, f'runuser -u mcp-proxy -- python3 -c "{script}"')
        assert status != 0
        line = deployed.root(host, f"journalctl -k --since=@{begun} -g 'mcp_tunnel refused proxy'")
        uid = deployed.root(host, "id -u mcp-proxy")
        for field in (f"DST={INTERNET_V4}", "DPT=443", f"UID={uid}"):
            assert f"{field} " in f"{line} ", line


def test_sctp_of_a_service_does_not_leave_the_machine(deployed: Deployed) -> None:
    """A socket of another protocol than TCP and UDP is refused, too; root's is let through."""
    for host in deployed.hosts:
        deployed.root(host, "modprobe sctp")
        script = _SCTP.format(address=NEIGHBOUR.v4)
        for user, leaves in (("mcp-proxy", False), ("mcp-cloudflared", False), ("root", True)):
            with _dump(deployed, "sctp") as dump:
                assert dump.stderr is not None
                while "listening on" not in dump.stderr.readline():
                    pass
                deployed.root(host, f"runuser -u {user} -- python3 - <<'X'\n{script}\nX\n")
                # What comes after it in the same stream of packets shows that there was none.
                deployed.root(host, f"runuser -u root -- python3 - <<'X'\n{_LAST}\nX\n")
                assert dump.stdout is not None
                seen = []
                while ".9999: UDP" not in (line := dump.stdout.readline()):
                    seen.append(line)
                dump.terminate()
            assert bool([line for line in seen if "INIT" in line]) == leaves, (user, seen)


#: A datagram that nothing else would send.
_LAST = f"""
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"last", ("{NEIGHBOUR.v4}", 9999))
"""


def _dump(deployed: Deployed, protocol: str) -> subprocess.Popen[str]:
    """Run tcpdump on the bridge, which sees every packet that leaves a machine."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "lab", "net", deployed.paths.name, "exec", "bridge"),
            *("tcpdump", "-lni", "br0", f"{protocol} or udp port 9999"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
