"""Hosts as an operator's Ansible finds them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.checkouts import ROOT
from lab.supervision import lifecycle
from lab.tests.support import PATIENCE, RunningLab, lab, wait_until

BOTH = pytest.mark.parametrize("host", ["host1", "host2"])


def test_releases_cycle_over_the_hosts(two: RunningLab) -> None:
    assert two.on("host1", "cat /etc/debian_version").startswith("12.")
    assert two.on("host2", "cat /etc/debian_version").startswith("13.")


@BOTH
def test_boot_is_complete_and_nothing_failed(two: RunningLab, host: str) -> None:
    look = "systemctl is-system-running --wait; systemctl --failed --plain --no-legend"
    assert two.on(host, look) == "running"


@BOTH
def test_login_is_an_ordinary_user_with_sudo(two: RunningLab, host: str) -> None:
    assert two.on(host, "id -un; sudo -n id -un") == "ops\nroot"


@BOTH
@pytest.mark.parametrize("module", ["cryptography", "yaml", "websockets", "mcp_proxy"])
def test_hosts_are_bare(two: RunningLab, host: str, module: str) -> None:
    assert "ModuleNotFoundError" in two.on(host, f"python3 -c 'import {module}'")


def test_identities_differ(two: RunningLab) -> None:
    for file in ("/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub", "/etc/hostname"):
        assert two.on("host1", f"cat {file}") != two.on("host2", f"cat {file}")


def test_unknown_host_key_is_refused(two: RunningLab, tmp_path: Path) -> None:
    known = two.paths.run_dir / "ssh/known_hosts"
    swapped = known.read_text().replace("host1", "x").replace("host2", "host1")
    wrong = tmp_path / "known_hosts"
    wrong.write_text(swapped)
    options = ["-o", f"UserKnownHostsFile={wrong}", "-o", "ControlPath=none"]
    done = subprocess.run(
        ["ssh", "-F", two.paths.ssh_config, *options, "host1", "true"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_ansible_reaches_them_with_the_inventory(two: RunningLab) -> None:
    ansible = Path(sys.executable).parent / "ansible"
    done = subprocess.run(
        [ansible, "-i", two.paths.inventory(), "mcp_tunnel", "-b", "-m", "command", "-a", "id -un"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("rc=0 >>\nroot") == 2


@pytest.fixture(scope="module")
def there() -> Iterator[RunningLab]:
    """Two hosts that need not stay as they are."""
    paths = lifecycle.up(f"h{os.getpid() % 10000000}", 2, ["12", "13"])
    yield RunningLab(paths)
    lifecycle.down(paths)


def boots(there: RunningLab) -> dict[str, int]:
    states = json.loads(there.paths.state.read_text())["hosts"]
    return {host: states[host]["boots"] for host in states}


@BOTH
def test_a_host_with_a_failed_unit_is_back(there: RunningLab, host: str) -> None:
    """A run that was cut may leave a unit that does not start."""
    unit = "/etc/systemd/system/fails.service"
    text = r"[Service]\nExecStart=false\n[Install]\nWantedBy=multi-user.target\n"
    there.on(host, f"printf '{text}' | sudo tee {unit}; sudo systemctl enable fails")
    status, output = lab("host", there.paths.name, "reboot", host)
    assert (status, output) == (0, "")
    assert there.on(host, "systemctl is-system-running || :") == "degraded"
    there.on(host, f"sudo systemctl disable fails; sudo rm {unit}")


@BOTH
def test_reboot_is_one(there: RunningLab, host: str) -> None:
    booted = boots(there)
    there.on(host, "sudo nft add table inet gone; sudo touch /etc/stays")
    before = there.on(host, "cat /proc/sys/kernel/random/boot_id; cat /etc/machine-id")
    address = there.on(host, "ip -brief address show eth0")

    status, output = lab("host", there.paths.name, "reboot", host)

    assert status == 0, output
    after = there.on(host, "cat /proc/sys/kernel/random/boot_id; cat /etc/machine-id")
    assert after.splitlines()[0] != before.splitlines()[0]
    assert after.splitlines()[1] == before.splitlines()[1]
    assert there.on(host, "ip -brief address show eth0").split()[2:4] == address.split()[2:4]
    assert there.on(host, "ls /etc/stays") == "/etc/stays"
    assert there.on(host, "sudo nft list ruleset") == ""
    assert boots(there) == {**booted, host: booted[host] + 1}


def test_power_off_is_seen(there: RunningLab) -> None:
    """Comes last: host2 stays off."""
    name = there.paths.name
    assert lab("status", name)[0] == 0
    lab("host", name, "exec", "host2", "sudo", "systemctl", "poweroff")
    wait_until(lambda: lab("status", name)[0] != 0, "the host stays on")
    output = lab("status", name)[1]
    assert "host2        ended with status 0" in output
    assert "host1        running" in output
