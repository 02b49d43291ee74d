"""Jobs as a platform runs them: a container for each run, which ends with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.core.paths import LabPaths

ROOT = Path(__file__).resolve().parents[2]
SEED = "/usr/share/mcp_tunnels.stack/bundle"
#: Options of podman: the users that platforms choose, and what they take away.
AWX = ("--user=0:0",)
OPENSHIFT = ("--user=12345:0", "--env=HOME=/", "--read-only")
ANY_USER = ("--user=12345:0", "--env=HOME=/")
READ_ONLY = ("--user=0:0", "--read-only")

_SSH = """\
Host *
    User ops
    IdentityFile /job/key
    IdentitiesOnly yes
    UserKnownHostsFile /job/known_hosts
    StrictHostKeyChecking yes
    BatchMode yes
    LogLevel ERROR
"""


@dataclass(frozen=True)
class Run:
    """An ended run: exit status, output without line breaks and quotes, counters by host."""

    status: int
    output: str
    recap: Mapping[str, Mapping[str, int]]
    seconds: float

    def changed(self) -> int:
        """The number of changes on all hosts."""
        return sum(counters["changed"] for counters in self.recap.values())


@dataclass(frozen=True)
class Platform:
    """The image, podman's environment, and the laboratory whose hosts are managed."""

    image: str
    environment: Mapping[str, str]
    paths: LabPaths

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of the laboratory."""
        found: dict[str, Any] = json.loads(self.paths.facts.read_text())
        return found

    def podman(self, *arguments: str) -> str:
        """Run a command of podman; return its output."""
        done = subprocess.run(
            ["podman", *arguments], env=dict(self.environment), capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        return done.stdout.decode()

    def job(
        self,
        directory: Path,
        playbook: str = "site",
        *arguments: str,
        options: Sequence[str] = AWX,
        hosts: Sequence[str] = ("host1", "host2"),
        group: str = "mcp_tunnel",
    ) -> Run:
        """Run a playbook of the collection with the inventory that a platform shows."""
        uid = int(options[0].partition("=")[2].partition(":")[0])
        self._write(directory, hosts, group, uid)
        network = f"--network=ns:{self.paths.network}"
        command = ["podman", "run", "--rm", "--pull=never", network, *options]
        # As the ansible.cfg of a project has it: without, a run takes more than twice as long.
        command += [f"--volume={directory}:/job:ro", "--env=ANSIBLE_PIPELINING=true"]
        command += [self.image, "ansible-playbook", "--inventory=/job/inventory.yml"]
        return ended([*command, f"mcp_tunnels.stack.{playbook}", *arguments], self.environment)

    def outside(self, playbook: str = "site") -> Run:
        """Run a playbook on this machine, as make test does elsewhere."""
        inventory = self.paths.inventory("wif")
        path = str(ROOT / f"playbooks/{playbook}.yml")
        return ended(["ansible-playbook", f"--inventory={inventory}", path], os.environ)

    def _write(self, directory: Path, hosts: Sequence[str], group: str, uid: int) -> None:
        content = yaml.safe_load(self.paths.inventory("wif").read_text())["mcp_tunnel"]
        addresses = {host["name"]: host["address"] for host in self.facts["hosts"]}
        content["hosts"] = {name: {"ansible_host": addresses[name]} for name in hosts}
        content["vars"]["ansible_ssh_args"] = (
            "-F /job/ssh_config -o ControlMaster=auto -o ControlPersist=60s"
        )
        content["vars"]["cloudflared_binary_file"] = "/job/cloudflared"
        config = _SSH
        for name, address in addresses.items():
            config += f"Host {address}\n    HostKeyAlias {name}\n"
        directory.mkdir(exist_ok=True)
        (directory / "inventory.yml").write_text(yaml.safe_dump({group: content}, sort_keys=False))
        (directory / "ssh_config").write_text(config)
        run = self.paths.run_dir
        shutil.copyfile(run / "ssh/known_hosts", directory / "known_hosts")
        shutil.copyfile(run / "ssh/id_ed25519", directory / "key")
        shutil.copy(self.facts["cloudflared"]["path"], directory / "cloudflared")
        for path in (directory, *directory.iterdir()):
            os.chown(path, uid, 0)
        (directory / "key").chmod(0o600)


def ended(command: Sequence[str], environment: Mapping[str, str], limit: float = 1200) -> Run:
    """Run ansible-playbook to its end, in whatever, but for no longer than *limit* seconds."""
    began = time.monotonic()
    done = subprocess.run(
        list(command),
        env=dict(environment),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit,
        check=False,
    )
    seconds = time.monotonic() - began
    output = " ".join(done.stdout.replace("''", "'").split())
    return Run(done.returncode, output, _recap(done.stdout), seconds)


def _recap(output: str) -> dict[str, dict[str, int]]:
    lines = output.rpartition("PLAY RECAP")[2].splitlines()
    return {
        name.strip(): {key: int(value) for key, value in (pair.split("=") for pair in rest.split())}
        for name, colon, rest in (line.partition(" : ") for line in lines)
        if colon and "changed=" in rest
    }
