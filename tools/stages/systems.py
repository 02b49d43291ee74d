"""Makes docs/systems.md of docs/systems.yml and of the tests: ``python -m stages.systems``.

Nobody writes down which system is booted where: it is read from the scenarios, and from the tests
of other systems.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.systems.releases import RELEASES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/systems.md"
SCENARIOS = ROOT / "molecule/shared/create.yml"

_HEAD = """\
# Systems

<!-- Made of systems.yml by `python -m stages.systems`. -->

"Proven" means that hosts with this system become replicas in each run of CI. "On demand" means
that they do so in `make test-systems`, which CI does not run: from bare to a call through the
tunnel, a run without changes, a renewal, another CA, and the teardown. "On paper" means that the
facts below meet our requirements, and that our units, paths and algorithms fit what the system
publishes; nobody has booted it here. Hosts are x86_64, and on demand [arm64](#arm64). Those of CI
and of Debian 11 are containers, which share one kernel, whatever the table says of theirs. Debian
14 runs on a virtual machine, with its own kernel and cgroup v2 alone, which its systemd needs.
There, the last three of these steps have tests, which nobody has run to their end yet.
"""
_PAPER = """
[systems.yml](https://github.com/mcp-tunnels/stack/blob/main/docs/systems.yml)
has each fact with the place to check it. Not confirmed there yet: the versions of Ubuntu, Fedora's
unit of nftables, the orders of polkit and D-Bus, and the names of RHEL's packages of systemd. Tests
of the tools hold these against it: the detection of the system, the least versions, the orders of
our units beside those of the system (no cycle, which systemd would break at a boot by leaving one
out), and the labels that SELinux's targeted policy gives to the programs that our units start.

## Crypto policies of RHEL

`update-crypto-policies` decides what OpenSSL may use. Of our algorithms these remain:
"""
_TAIL = """
With `FUTURE`, an RSA key of your own needs 3072 bits; the keys that a run makes are ECDSA on
P-256, and fit both.

## Kernels

Containers share the kernel of the machine that tests. A kernel of one's own enforces and logs more.
`make test-machines` shows it on virtual machines, on demand and
not in CI: x86_64, emulated, with Debian's kernel and policies. These tests have passed:

| | Debian 12 | Debian 13 |
|---|---|---|
| a deployment; calls through it; `verify` with nothing left to prove | proven | proven |
| `MemoryMax=`, `TasksMax=` and `IPAddressDeny=`, with cgroup v2 alone | proven | proven |
| the kernel's log of what the firewall refuses; SCTP that it refuses | proven | proven |
| AppArmor with the system's profiles: nothing of ours is denied | proven | proven |
| a clock that jumps by hours: nothing ends | proven | proven |
| a clock that moves on by 70 days: each timer renews, nothing restarts | proven | proven |
| SELinux, enforcing, from deployment to teardown: labels, denials | not run | proven |
| a full disk: a run fails, calls do not, and the next run completes | not run | proven |
| power cuts in a deployment, and in a rotation of the CA | not run | not run |

## arm64

`make test-arm64`, on demand and not in CI, takes an emulated ARM machine, with Debian 13 and its
kernel, from bare to torn down: a deployment with wheels for aarch64, a call of a tool through it, a
second run that changes nothing, a reboot, `verify`. Seen so far, in parts: boot, wheels, services,
the call, a run that changes nothing. Not yet: the test as a whole, reboot, `verify`, teardown.

## FIPS mode

`FIPS` is a policy and a validated module. RHEL's module is on paper here; proven, in `make
test-all`, is a host with Debian 13 whose OpenSSL has no provider but Debian's build of the FIPS
provider, which is not the validated one (`tests/fips`): it becomes a replica; its proxy serves with
that module; certificate, CA and token are renewed, and encrypted at rest.

- No X25519 and no ChaCha20-Poly1305: clients of inner TLS need P-256, which every client of TLS 1.3
  has (RFC 8446, section 9.1).
- Copies of the state are encrypted by age (X25519 and ChaCha20-Poly1305, not by OpenSSL): they
  work, no policy forbids them, and no FIPS module makes them.
- cloudflared is a program in Go with algorithms of its own, which OpenSSL's configuration does not
  change.
"""


def data() -> dict[str, Any]:
    """The facts, as the file has them."""
    facts: dict[str, Any] = yaml.safe_load((ROOT / "docs/systems.yml").read_text("utf-8"))
    return facts


def in_ci() -> list[str]:
    """The releases of Debian that every scenario boots."""
    found = re.search(r"--debian=([0-9,]+)", SCENARIOS.read_text("utf-8"))
    return found[1].split(",") if found else []


def proof(system: Mapping[str, Any]) -> str:
    """How sure we are of a system."""
    release = system["version"] if system["name"] == "Debian" else ""
    if release in in_ci():
        return "proven: booted in CI"
    return "on demand: booted by tests" if release in RELEASES else "on paper"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]]) + "\n"


def page() -> str:
    """The text of docs/systems.md."""
    facts = data()
    parts = ("kernel", "glibc", "systemd", "python", "openssl", "nftables")
    systems = _table(
        ("system", "version", "how sure", *parts),
        [
            (
                each["name"],
                each["version"],
                proof(each),
                *(each["packages"][part] for part in parts),
            )
            for each in facts["systems"]
        ],
    )
    policies = [name for name in facts["policies"] if name != "sources"]
    left = _table(
        ("", "ours", *policies),
        [
            (
                kind,
                ", ".join(ours),
                *(", ".join(a for a in ours if a in facts["policies"][p][kind]) for p in policies),
            )
            for kind, ours in facts["ours"].items()
        ],
    )
    return f"{_HEAD}\n{systems}{_PAPER}\n{left}{_TAIL}"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
