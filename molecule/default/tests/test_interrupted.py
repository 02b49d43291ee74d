"""The next run completes a run that is killed after any of its changes.

Two bare hosts of a laboratory of their own, one of them hardened as auditors want it. Every run is
killed right after its first change, so that each change in turn is the last thing that an
interrupted run did; the run that finds nothing left to do must end by itself, with a tunnel that
works. Both hosts are deployed at once: one is killed in the middle of what the other has just
done. (A rotation is killed host by host, in the scenario wif.) In the end, a renewal of the
certificates is killed while a client calls.

`make test` takes one change of each kind: a release, a file of the state host, the kernel's rules,
services; a run that is not killed does the rest. (A file of a replica is one in the scenario wif.)
`make test-all` takes every change.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from caller import calling
from deployed import STATE, none_failed
from replicas import TOGETHER, inventory, killed_after_a_change, lab, play, recap, shell

from lab.core.paths import LabPaths
from lab.supervision import facts

NAME = "cut"
# Only root can read the files that it then makes by sudo, unless somebody says otherwise. Nothing
# runs from /tmp, sudo asks for a password, /etc/resolv.conf is a link, and Ansible's Python is not
# where the services have theirs.
PASSWORD = "of an auditor"
HARDENED = f"""
echo 'Defaults umask=0077, umask_override' >/etc/sudoers.d/umask
mount -t tmpfs -o noexec,nosuid,nodev tmpfs /tmp
mkdir -p /run/resolvconf /opt/site/bin
ln -s /usr/bin/python3 /opt/site/bin/python3
mv /etc/resolv.conf /run/resolvconf/resolv.conf
ln -s ../run/resolvconf/resolv.conf /etc/resolv.conf
echo 'ops:{PASSWORD}' | chpasswd
echo 'ops ALL=(ALL:ALL) ALL' >/etc/sudoers.d/ops
"""
ITS_VARIABLES = f"""
ansible_become_password: {PASSWORD}
ansible_python_interpreter: /opt/site/bin/python3
"""
MOST_RUNS = 60
CHOSEN = (
    "mcp_tunnels.stack.proxy : Ship the proxy",
    "mcp_tunnels.stack.provision : Make the CA, or check the one that is brought",
    "mcp_tunnels.stack.firewall : Load the rules, now and at boot",
    "Run what was deployed",
)
# A key without a certificate, and a certificate that was not proven, on the first of two hosts.
RENEWAL = (
    "mcp_tunnels.stack.proxy : Look at the server certificate, and make a key when one is needed"
    " on host1",
    "mcp_tunnels.stack.proxy : Install the certificate on host1",
)
DUE = ("-e", "mcp_tunnel_cert_duration=4000h", "-e", "mcp_tunnel_cert_renew_before=3000h")


@pytest.fixture(
    scope="module",
    autouse=True,
    params=[
        pytest.param(CHOSEN, id="after chosen changes"),
        pytest.param((), id="after every change", marks=pytest.mark.exhaustive),
    ],
)
def cut(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """The laboratory. Yields the tasks after which a run is killed, before every change counts."""
    lab("up", NAME, "--hosts", "2", "--debian", "12,13")
    lab("host", NAME, "exec", "host2", f"sudo sh -euc {shlex.quote(HARDENED)}")
    variables = LabPaths(NAME).run_dir / "host_vars/host2.yml"
    variables.parent.mkdir()
    variables.write_text(ITS_VARIABLES)
    yield request.param
    lab("down", NAME)


@pytest.fixture(scope="module")
def ended(cut: tuple[str, ...]) -> list[dict[str, dict[str, int]]]:
    """The recaps of the runs that were not killed: only the last run is one."""
    return []


def test_the_state_host_cannot_be_limited_out_of_the_first_run() -> None:
    done = play("--limit", "host2", lab_name=NAME)
    assert done.returncode != 0, done.stdout
    assert "takes no part in this run and was never deployed" in " ".join(done.stdout.split())
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values())


def test_killed_after_changes(cut: tuple[str, ...], ended: list[dict[str, dict[str, int]]]) -> None:
    kills = [killed_after_a_change(*TOGETHER, lab_name=NAME, tasks=[task]) for task in cut]
    if cut:
        done = play(*TOGETHER, lab_name=NAME)
        assert done.returncode == 0, done.stdout[-4000:]
        assert any(counters["changed"] > 0 for counters in recap(done.stdout).values())
    while task := killed_after_a_change(*TOGETHER, lab_name=NAME, ended=ended):
        kills.append(task)
        assert len(kills) < MOST_RUNS, "still changing things:\n" + "\n".join(kills)
    print("\n".join(kills))
    # The run that did the rest has left nothing to kill. Without it, fewer than eight would mean
    # that the callback sees nothing: files, units, services on two hosts.
    assert len(kills) == len(cut) or (not cut and len(kills) >= 8), kills
    assert "completed" in lab("call", NAME, "echo", "echo", '{"text": "completed"}')


def test_the_next_run_changes_nothing(ended: list[dict[str, dict[str, int]]]) -> None:
    """The run that was not killed came to its end, on both hosts."""
    assert len(ended) == 1
    assert {name: each["changed"] for name, each in ended[0].items()} == {"host1": 0, "host2": 0}
    assert all(each["failed"] + each["unreachable"] == 0 for each in ended[0].values())
    assert all(each["ok"] > 0 for each in ended[0].values())


def test_a_renewal_of_certificates_that_is_killed() -> None:
    serial = "openssl x509 -noout -serial -in /etc/mcp-tunnel/default/tls/tls.crt"
    front = facts.read(LabPaths(NAME))["edge_front"]
    variables = yaml.safe_load(Path(inventory(NAME)).read_text())["mcp_tunnel"]["vars"]
    ca = shell("host1", NAME).check_output(f"cat {STATE}/ca.crt")

    def serials() -> list[str]:
        # sudo of the hardened host asks for a password.
        command = f"echo '{PASSWORD}' | sudo -S -p '' {serial}"
        return [lab("host", NAME, "exec", name, command) for name in ("host1", "host2")]

    seen, recaps = [serials()], []
    with calling(LabPaths(NAME).run_dir, front, variables["mcp_tunnel_id"], ca) as calls:
        for task in RENEWAL:
            killed_after_a_change(*DUE, playbook="renew_cert", lab_name=NAME, tasks=[task])
            seen.append(serials())
        for _ in range(2):
            done = play(*DUE, playbook="renew_cert", lab_name=NAME)
            assert done.returncode == 0, done.stdout[-4000:]
            recaps.append({name: each["changed"] for name, each in recap(done.stdout).items()})
            seen.append(serials())
    none_failed(calls)
    before, key_alone, first_done, all_done, again = seen
    assert key_alone == before
    assert [old == new for old, new in zip(before, first_done, strict=True)] == [False, True]
    assert [old == new for old, new in zip(first_done, all_done, strict=True)] == [True, False]
    assert recaps[0]["host1"] == 0
    assert recaps[0]["host2"] > 0
    assert set(recaps[1].values()) == {0}
    assert again == all_done
