"""The state host loses everything: a copy of its state is put back, or another host takes over.

The tests go on from each other: copies are made, put back in each way, and then none of them fits.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from backups import COPIED, RESTORED, Operator
from caller import calling
from deployed import (
    STATE,
    all_the_time,
    fingerprint,
    none_failed,
    stored,
    tunnel,
)
from replicas import (
    ANOTHER_MACHINE,
    HOSTS,
    LAB,
    RUN,
    TOGETHER,
    disks,
    killed_after_a_change,
    make_bare,
    play,
    recap,
    shell,
    unquoted,
)
from secrets_search import PLACES, found, key_lines, shown, token_forms
from tunnels_api import QUESTIONS, active, asked, status, the_tunnel

OTHER = HOSTS[-1]
STANDBY = "/var/lib/mcp-tunnel-standby/default/state.age"
TEXTFILES = "/var/lib/node-exporter"
MADE = "mcp_tunnels.stack.provision : Make the CA, or check the one that is brought"
#: Left by a restore that was killed on the host while it wrote.
HALF = f"{Path(STATE).parent}/.{Path(STATE).name}.restoring"


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator; afterwards the replicas keep no copies any more."""
    for name in HOSTS:
        shell(name).check_output(f"install -d {TEXTFILES}")
    yield Operator(tmp_path_factory.mktemp("operator"), mcp_tunnel_textfile_dir=TEXTFILES)
    for name in HOSTS:
        shell(name).check_output(
            f"rm -rf {Path(STANDBY).parents[1]} {STATE}/copies.json {TEXTFILES}"
        )


def changed(done: subprocess.CompletedProcess[str]) -> int:
    """Return the number of changes on all hosts."""
    return sum(counters["changed"] for counters in recap(done.stdout).values())


def wipe() -> None:
    """Take the state from the state host."""
    shell(HOSTS[0]).check_output(f"rm -r {STATE}")


def the_files(state_host: str = HOSTS[0]) -> dict[str, str]:
    """Return name to SHA-256 of the files of the state, as the state host has them."""
    lines = shell(state_host).check_output(f"cd {STATE} && sha256sum *").splitlines()
    return {name: digest for digest, name in map(str.split, lines) if name != "copies.json"}


def test_the_other_replica_and_the_controller_keep_copies(operator: Operator) -> None:
    assert changed(operator.run("site", *TOGETHER)) > 0
    file = shell(OTHER).file(STANDBY)
    assert (file.user, file.mode) == ("root", 0o600)
    copy = operator.opened(shell(OTHER).check_output(f"cat {STANDBY}"))
    assert copy["state/ca.key"].decode().strip() == stored("ca.key")
    assert not shell(HOSTS[0]).file(STANDBY).exists

    before = disks()
    assert changed(operator.run("backup", "--check")) == 1
    assert not operator.folder.exists()
    assert disks() == before
    operator.killed("backup", COPIED)
    (backup,) = operator.backups()
    # The first of them has only to note it on the state host.
    for _ in range(2):
        assert changed(operator.run("backup")) == 0
        assert operator.backups() == [backup]
    names = {f"state/{name}" for name in the_files()}
    assert operator.opened(backup.read_text()).keys() == {"manifest.json", *names}

    path = f"{TEXTFILES}/mcp_tunnel_state_default.prom"
    metrics = shell(HOSTS[0]).check_output(f"cat {path}")
    for kind in ("backup", "standby"):
        row = f'mcp_tunnel_state_copy_current{{mcp_tunnel_instance="default",kind="{kind}"}} 1'
        assert row in metrics.splitlines()
    assert not shell(OTHER).file(path).exists


@pytest.mark.exhaustive  # the unit tests have both over simulated hosts
def test_what_later_runs_find_and_show(operator: Operator) -> None:
    before = operator.backups()
    assert changed(operator.run("site")) == 0
    assert changed(operator.run("backup")) == 0
    assert operator.backups() == before
    output = unquoted(operator.run("verify").stdout)
    assert "copies of the state" in output
    for kind in ("backup", "standby"):
        assert f"{kind} ok made at" in output


def test_a_restore_calls_no_api_and_fails_no_call(operator: Operator) -> None:
    """From a replica's copy by a run that is killed and the next one, then from the backup."""
    files, calls_before = the_files(), len(asked())
    with all_the_time() as calls:
        wipe()
        before, checked = disks(), operator.run("restore", "--check")
        assert changed(checked) == 1
        assert f"{STATE} on {HOSTS[0]} would have the state of " in unquoted(checked.stdout)
        assert disks() == before
        assert not shell(HOSTS[0]).file(STATE).exists
        operator.killed("restore", RESTORED)
        # Made before the replicas were proven; that alone does not count as another state.
        differing = {name for name, digest in the_files().items() if files[name] != digest}
        assert differing <= {"replicas.json"}
        assert the_files().keys() == files.keys()
        assert changed(operator.run("restore")) == 0, "the run that was killed had put it back"
        wipe()
        shell(HOSTS[0]).check_output(f"install -d -m 0700 {HALF} && echo half > {HALF}/ca.key")
        backup = operator.backups()[-1]
        assert changed(operator.run("restore", "-e", f"mcp_tunnel_backup_file={backup}")) == 1
    inside = {Path(name): content for name, content in operator.opened(backup.read_text()).items()}
    wanted = {p.name: sha256(content).hexdigest() for p, content in inside.items() if p.parts[1:]}
    assert the_files() == wanted
    assert shell(HOSTS[0]).file(STATE).mode == 0o700
    modes = shell(HOSTS[0]).check_output(f"stat -c '%a %U' {STATE}/* | sort -u")
    assert modes == "600 root"
    assert not shell(HOSTS[0]).file(HALF).exists
    assert len(asked()) == calls_before
    none_failed(calls)


@pytest.mark.exhaustive  # the way with a new CA is below, and the choice in the unit tests
def test_recover_takes_the_copy_before_it_makes_a_new_ca(operator: Operator) -> None:
    made, before = tunnel(), stored("ca.crt")
    with all_the_time() as calls:
        wipe()
        done = operator.run("recover", "-e", f"mcp_tunnel_id={made['id']}")
    assert f"The state is that of the copy on {OTHER}" in unquoted(done.stdout)
    assert stored("ca.crt") == before
    assert active(the_tunnel(made["domain"])) == [fingerprint(before)]
    none_failed(calls)
    assert changed(operator.run("site")) == 0


def test_no_secret_is_anywhere(operator: Operator) -> None:
    needles = [*token_forms(stored("tunnel-token")), *key_lines(HOSTS[0]), str(operator.identity)]
    assert len(needles) == 4 + 4 + 1
    assert found(needles, operator.output) == []
    for path in operator.folder.iterdir():
        assert found(needles, path.read_text()) == [], path.name
    for name in HOSTS:
        for command in (*PLACES, f"cat {STANDBY} {TEXTFILES}/* 2>/dev/null || true"):
            assert found(needles, shown(name, command)) == [], (name, command)


def test_another_state_host_takes_over(operator: Operator) -> None:
    """The last resort, with a new CA: the copy that is left was damaged."""
    made, lost = tunnel(), fingerprint(stored("ca.crt"))
    tunnels = len(status()["tunnels"])
    moved = ("-e", f"mcp_tunnel_state_host={OTHER}")
    given = (*moved, "-e", f"mcp_tunnel_id={made['id']}")
    shell(OTHER).check_output(f"sed -i '9s/^..../AAAA/' {STANDBY}")
    with all_the_time() as calls:
        wipe()

        refused = play(*moved)
        assert "recover.yml" in " ".join(refused.stdout.split())
        refused = play("-e", f"@{operator.variables}", *given, playbook="recover")
        assert f"the copy on {OTHER}: cannot be decrypted" in unquoted(refused.stdout)
        assert all(counters["changed"] == 0 for counters in recap(refused.stdout).values())

        before, calls_before = disks(), len(asked())
        done = play("--check", *given, playbook="recover")
        assert done.returncode == 0, done.stdout[-3000:]
        assert sum(counters["changed"] for counters in recap(done.stdout).values()) > 0
        assert disks() == before
        assert {call["call"] for call in asked(calls_before)} <= QUESTIONS

        killed_after_a_change(*given, playbook="recover", tasks=[MADE])
        new = fingerprint(shell(OTHER).check_output(f"cat {STATE}/ca.crt"))
        assert active(the_tunnel(made["domain"])) == [lost, new]
        # With an identity, as no copy is put back any more.
        done = operator.run("recover", *given)
        assert f"{OTHER} has a CA, of an earlier run: it stays." in unquoted(done.stdout)
        assert active(the_tunnel(made["domain"])) == [new]
        assert changed(operator.run("recover", *given)) == 0
    none_failed(calls)

    assert len(status()["tunnels"]) == tunnels
    assert active(the_tunnel(made["domain"])) == [new]
    assert fingerprint(shell(OTHER).check_output(f"cat {STATE}/ca.crt")) == new != lost


@pytest.mark.exhaustive  # test_outside_signer.py has a bare one, and a restore is above
def test_a_state_host_whose_disk_is_lost_gets_its_state_back(operator: Operator) -> None:
    """It was installed anew: bare, and another machine. The replicas remember its name."""
    host = shell(OTHER)
    names, ca = the_files(OTHER).keys(), host.check_output(f"cat {STATE}/ca.crt")
    made = host.check_output(f"cat {STATE}/tunnel-id").strip()
    calls_before = len(asked())
    with calling(RUN, LAB["edge_front"], made) as calls:
        make_bare(OTHER)
        host.check_output(ANOTHER_MACHINE)
        assert changed(operator.run("restore")) == 1
        assert the_files(OTHER).keys() == names
        assert asked(calls_before) == []
        operator.run("site", "-e", json.dumps({"mcp_tunnel_forget": [OTHER]}))
        operator.run("verify")
    none_failed(calls)
    assert host.check_output(f"cat {STATE}/ca.crt") == ca
    registered = next(each for each in status()["tunnels"] if each["id"] == made)
    assert active(registered) == [fingerprint(ca)]


def test_the_state_moves_with_its_directory() -> None:
    """As documented, a copy makes another host the state host: here, the first one again."""
    ssh = f"ssh -F {RUN}/ssh_config"
    pack, unpack = (
        "sudo tar -C /var/lib/mcp-tunnel -c default",
        "sudo tar -C /var/lib/mcp-tunnel -x",
    )
    subprocess.run(
        ["bash", "-ec", f"set -o pipefail; {ssh} {OTHER} {pack} | {ssh} {HOSTS[0]} {unpack}"],
        check=True,
        timeout=600,
    )
    shell(OTHER).check_output(f"rm -r {STATE}")
    # The replicas remember the other one, until this run, and refuse one without the variable:
    # test_members.py of the scenario default.
    done = play(*TOGETHER, "-e", f"mcp_tunnel_state_host={HOSTS[0]}")
    assert done.returncode == 0, done.stdout[-3000:]
    # The next whole run (test_maintenance.py) finds nothing to do but what was done before it.
