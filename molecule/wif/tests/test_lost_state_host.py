"""The state host loses everything: a copy of its state is put back, or another host takes over.

The tests go on from each other: copies are made, put back in each way, and then none of them fits.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pyrage
import pytest
from deployed import (
    STATE,
    all_the_time,
    fingerprint,
    none_failed,
    stored,
    tunnel,
)
from replicas import HOSTS, RUN, TOGETHER, killed_after_a_change, play, recap, shell, unquoted
from secrets_search import PLACES, found, key_lines, shown, token_forms
from tunnels_api import active, asked, status, the_tunnel

OTHER = HOSTS[-1]
STANDBY = "/var/lib/mcp-tunnel-standby/default/state.age"
TEXTFILES = "/var/lib/node-exporter"
RESTORE = "mcp_tunnels.stack.provision : Judge the copy, and put it back"
#: Left by a restore that was killed on the host while it wrote.
HALF = f"{Path(STATE).parent}/.{Path(STATE).name}.restoring"


class Operator:
    """What an operator keeps: a pair of keys, and a folder for backups."""

    def __init__(self, directory: Path) -> None:
        self.identity = pyrage.x25519.Identity.generate()
        self.identity_file = directory / "identity.txt"
        self.identity_file.write_text(f"# of a test\n{self.identity}\n")
        self.identity_file.chmod(0o600)
        self.folder = directory / "backups"
        self.variables = directory / "variables.json"
        self.variables.write_text(
            json.dumps(
                {
                    "mcp_tunnel_backup_recipients": [str(self.identity.to_public())],
                    "mcp_tunnel_backup_dest": str(self.folder),
                    "mcp_tunnel_backup_identity_file": str(self.identity_file),
                    "mcp_tunnel_textfile_dir": TEXTFILES,
                    # The machine that runs the tests may be a container.
                    "mcp_tunnel_state_is_persistent": True,
                }
            )
        )
        self.output = ""

    def run(self, playbook: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook at full verbosity; it has to end well."""
        done = play("-e", f"@{self.variables}", "-vvv", "--diff", *arguments, playbook=playbook)
        self.output += done.stdout + done.stderr
        assert done.returncode == 0, done.stdout[-4000:]
        return done

    def killed(self, *arguments: str) -> None:
        """Kill the restore once the state is back."""
        at = killed_after_a_change(
            "-e", f"@{self.variables}", *arguments, playbook="restore", tasks=[RESTORE]
        )
        assert at.startswith(RESTORE)

    def backups(self) -> list[Path]:
        """Return the backups, the newest last."""
        return sorted(self.folder.glob("*.age"))

    def opened(self, text: str) -> dict[str, bytes]:
        """Return name to content of what is in a copy."""
        content = pyrage.decrypt(text.encode(), [self.identity])
        with tarfile.open(fileobj=BytesIO(content)) as archive:
            members = {each.name: archive.extractfile(each) for each in archive}
            return {name: stream.read() for name, stream in members.items() if stream}


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator; afterwards the replicas keep no copies any more."""
    for name in HOSTS:
        shell(name).check_output(f"install -d {TEXTFILES}")
    yield Operator(tmp_path_factory.mktemp("operator"))
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


def the_files() -> dict[str, str]:
    """Return name to SHA-256 of the files of the state, as the state host has them."""
    lines = shell(HOSTS[0]).check_output(f"cd {STATE} && sha256sum *").splitlines()
    return {name: digest for digest, name in map(str.split, lines) if name != "copies.json"}


def test_the_other_replica_and_the_controller_keep_copies(operator: Operator) -> None:
    assert changed(operator.run("site", *TOGETHER)) > 0
    file = shell(OTHER).file(STANDBY)
    assert (file.user, file.mode) == ("root", 0o600)
    copy = operator.opened(shell(OTHER).check_output(f"cat {STANDBY}"))
    assert copy["state/ca.key"].decode().strip() == stored("ca.key")
    assert not shell(HOSTS[0]).file(STANDBY).exists

    assert changed(operator.run("backup")) == 1
    (backup,) = operator.backups()
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
        operator.killed()
        # Made before the replicas were proven; that alone does not count as another state.
        differing = {name for name, digest in the_files().items() if files[name] != digest}
        assert differing <= {"replicas.json"}
        assert the_files().keys() == files.keys()
        assert changed(operator.run("restore")) == 0, "the run that was killed had put it back"
        wipe()
        shell(HOSTS[0]).check_output(f"install -d -m 0700 {HALF} && echo half > {HALF}/ca.key")
        backup = operator.backups()[-1]
        assert changed(operator.run("restore", "-e", f"mcp_tunnel_backup_file={backup}")) == 1
    assert the_files() == files
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

        done = play(*given, playbook="recover")
    assert done.returncode == 0, done.stdout[-3000:]
    none_failed(calls)

    assert len(status()["tunnels"]) == tunnels
    new = fingerprint(shell(OTHER).check_output(f"cat {STATE}/ca.crt"))
    assert active(the_tunnel(made["domain"])) == [new]
    assert new != lost


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
