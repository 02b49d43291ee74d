"""The power of a machine is cut at random moments of a run, and the next run completes it.

``CUTS`` is how often, in each test, which begins anew with what it has completed until there were
as many; ``SEED`` brings the moments of an earlier run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.supervision import lifecycle
from tests.machines.deployed import RELEASE, Deployed, changed_lines

pytestmark = pytest.mark.exhaustive

CUTS = int(os.environ.get("CUTS", "2"))
SEED = os.environ.get("SEED") or str(random.randrange(1_000_000))

#: Each run goes on where the one before was cut. It is cut when as many of its results are changes:
#: at once, so that a file outlives it only if it was flushed, or so many seconds later, in a task.
_MOST_CHANGES, _MOST_SECONDS = 3, 10.0

_RELEASES = "/opt/mcp-tunnel"
_STATE = "/var/lib/mcp-tunnel/default"
#: All that a run has made, but not what the host itself writes all the time.
_OURS = f"{_RELEASES} /etc/mcp-tunnel /var/lib/mcp-tunnel /etc/systemd/system"
_CUT_TASK = re.compile(r"TASK \[([^\]]*)\](?:(?!TASK \[).)*?UNREACHABLE", re.DOTALL)


@pytest.fixture(scope="module")
def another() -> Iterator[Deployed]:
    """One more machine, to which nothing was done yet, for a tunnel that the API will make."""
    paths = lifecycle.up(f"c{os.getpid() % 10000000}", 1, [RELEASE], machines=True)
    try:
        yield Deployed(paths, "wif")
    finally:
        lifecycle.down(paths)


def _is_cut(machine: Deployed, playbook: str, moments: random.Random) -> bool:
    """Cut the power during a run. Returns whether there was as much to do for it as that took."""
    (host,) = machine.hosts
    changes = moments.randint(1, _MOST_CHANGES)
    seconds = moments.choice((0.0, moments.uniform(0, _MOST_SECONDS)))
    run = machine.start(playbook=playbook)
    lines = changed_lines(run, changes)
    time.sleep(seconds)
    machine.lab("host", "cut", host)
    rest, _ = run.communicate(timeout=900)
    before = [line for line in lines if line.startswith("TASK [")][-1].strip(" *\n")
    during = _CUT_TASK.search(before + rest)
    print(
        f"SEED={SEED}: {playbook}: {seconds:.1f} s after change {changes}, {before}; during "
        f"{during[1] if during else 'no task'}; exit status {run.returncode}"
    )
    return sum(line.startswith("changed:") for line in lines) == changes


def _digest_of_releases(deployed: Deployed, host: str) -> str:
    """The content of all files that a release brought; those that are compiled are not."""
    files = f"cd {_RELEASES} && find . -type f ! -name '*.pyc' | LC_ALL=C sort"
    return deployed.root(host, f"{files} | xargs sha256sum | sha256sum")


def _cas(machine: Deployed) -> list[dict[str, Any]]:
    """Return all CAs that were ever registered for the tunnel of the state host."""
    domain = machine.root(machine.hosts[0], f"cat {_STATE}/tunnel-domain")
    tunnels = json.loads(machine.lab("api", "status"))["tunnels"]
    found = next(tunnel["certificates"] for tunnel in tunnels if tunnel["domain"] == domain)
    return list(found)


def _assert_whole(machine: Deployed) -> None:
    """No file is half-written, each certificate has its key, and no run finds anything to do."""
    (host,) = machine.hosts
    machine.call("after the cuts")
    assert machine.root(host, f"find {_OURS} -name '*.tmp*' -o -name '*.pending'") == ""
    assert machine.root(host, f"find {_OURS} -name '*.pyc' -size 0") == ""
    for pair in (f"{_STATE}/ca", "/etc/mcp-tunnel/default/tls/tls"):
        key = machine.root(host, f"openssl pkey -in {pair}.key -pubout")
        assert machine.root(host, f"openssl x509 -in {pair}.crt -noout -pubkey") == key
    ca = ssl.PEM_cert_to_DER_cert(machine.root(host, f"cat {_STATE}/ca.crt"))
    active = [each["fingerprint"] for each in _cas(machine) if not each["archived_at"]]
    assert active == [hashlib.sha256(ca).hexdigest()]
    assert "changed=0" in machine.play().rsplit("PLAY RECAP", 1)[1]


def test_flushed_data_outlives_a_cut(another: Deployed) -> None:
    """Without this, the others would show nothing."""
    (host,) = another.hosts
    another.root(host, "echo kept >/root/flushed && sync /root/flushed")
    another.lab("host", "cut", host)
    assert another.root(host, "cat /root/flushed") == "kept"


def test_power_cuts_in_a_deployment(another: Deployed, deployed: Deployed) -> None:
    """The next run completes, and its files are those of a run without cuts."""
    moments = random.Random(f"{SEED} deployment")
    digest = _digest_of_releases(deployed, deployed.hosts[-1])
    cuts = _cut_deployment(another, moments, CUTS, digest)
    while cuts < CUTS:
        another.play("-e", "mcp_tunnel_teardown_confirmed=true", playbook="teardown")
        cuts += _cut_deployment(another, moments, CUTS - cuts, digest)


def _cut_deployment(machine: Deployed, moments: random.Random, most: int, digest: str) -> int:
    """Deploy to a bare machine by runs that are cut, ``most`` at most, and judge what is there.

    Returns how many were cut: at least one.
    """
    cuts = 0
    while cuts < most and _is_cut(machine, "site", moments):
        cuts += 1
    assert cuts
    machine.play()
    assert _digest_of_releases(machine, machine.hosts[0]) == digest
    # A key that was lost would have cost another CA.
    assert len(_cas(machine)) == 1
    _assert_whole(machine)
    return cuts


def test_power_cuts_in_a_rotation_of_the_ca(another: Deployed) -> None:
    """However often it was begun, it is one rotation: no key of a new CA was lost."""
    another.play()
    moments = random.Random(f"{SEED} rotation")
    cuts = _cut_rotation(another, moments, CUTS)
    while cuts < CUTS:
        cuts += _cut_rotation(another, moments, CUTS - cuts)


def _cut_rotation(machine: Deployed, moments: random.Random, most: int) -> int:
    """Rotate the CA by runs that are cut, ``most`` at most, and judge what is there.

    Returns how many were cut: at least one.
    """
    before = len(_cas(machine))
    cuts = 0
    while cuts < most and _is_cut(machine, "rotate_ca", moments):
        cuts += 1
        if _is_rotated(machine, before):
            break
    assert cuts
    machine.play(playbook="site" if _is_rotated(machine, before) else "rotate_ca")
    assert len(_cas(machine)) == before + 1
    _assert_whole(machine)
    return cuts


def _is_rotated(machine: Deployed, before: int) -> bool:
    """Whether the last CA of those before is archived; they were so many."""
    return bool(_cas(machine)[before - 1]["archived_at"])
