"""The next run completes a run that is killed after any of its changes.

Two bare hosts of a laboratory of their own, one of them hardened as auditors want it. Every run is
killed right after its first change, so that each change in turn is the last thing that an
interrupted run did; the run that finds nothing left to do must end by itself, with a tunnel that
works. Both hosts are deployed at once: one is killed in the middle of what the other has just
done. (A rotation is killed host by host, in the scenario wif.)

`make test` takes one change of each kind: a release, a file of the state host, the kernel's rules,
services; a run that is not killed does the rest. (A file of a replica is one in the scenario wif.)
`make test-all` takes every change.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest
from replicas import TOGETHER, killed_after_a_change, lab, play, recap

from lab.core.paths import LabPaths

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
