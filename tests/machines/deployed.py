"""A laboratory of virtual machines with the stack on it, and what a test does to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.core.checkouts import ROOT
from lab.core.paths import LabPaths
from lab.supervision import facts

#: Debian's releases: of the machines that are replicas of one tunnel, and of one that is alone.
RELEASES = os.environ.get("MACHINES_DEBIAN", "12,13").split(",")
RELEASE = RELEASES[-1]

#: The state of a unit as `systemctl show` has it, and the processes of its control group.
PROXY, CONNECTOR = "mcp-proxy@default.service", "mcp-cloudflared@default.service"

#: Seconds: emulated, a run of a playbook takes some minutes.
_PLAY_TIMEOUT = 3600
#: Seconds: more than the laboratory itself gives a machine to boot.
_LAB_TIMEOUT = 2400


@dataclass(frozen=True)
class Deployed:
    """The laboratory.

    Attributes:
        paths: its places.
        mode: that of the operator's inventory: ``manual`` or ``wif``.
    """

    paths: LabPaths
    mode: str = "manual"

    @property
    def hosts(self) -> list[str]:
        """Return the names of the machines."""
        return [host["name"] for host in facts.read(self.paths)["hosts"]]

    def lab(self, *words: str) -> str:
        """Run ``lab`` with a verb and this laboratory's name, and return what it printed."""
        verb, *arguments = words
        done = subprocess.run(
            [sys.executable, "-m", "lab", verb, self.paths.name, *arguments],
            cwd=ROOT,
            text=True,
            capture_output=True,
            timeout=_LAB_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"lab {' '.join(words)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def call(self, text: str) -> None:
        """Assert that a real MCP client is answered through the tunnel."""
        assert text in self.lab("call", "echo", "echo", json.dumps({"text": text}))

    def start(self, *arguments: str, playbook: str = "site") -> subprocess.Popen[str]:
        """Start ``ansible-playbook`` as an operator does; its output can be read."""
        return subprocess.Popen(
            [
                *(str(Path(sys.executable).parent / "ansible-playbook"), "-i"),
                *(str(self.paths.inventory(self.mode)), f"playbooks/{playbook}.yml", *arguments),
            ],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_TIMEOUT": "120"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def play(self, *arguments: str, playbook: str = "site") -> str:
        """Run a playbook, which succeeds, and return its output."""
        process = self.start(*arguments, playbook=playbook)
        output, _ = process.communicate(timeout=_PLAY_TIMEOUT)
        assert process.returncode == 0, output[-6000:]
        return output

    def root(self, host: str, command: str, timeout: float = 300) -> str:
        """Run a shell command as root, which succeeds, and return its output."""
        status, output = self.tried(host, command, timeout)
        assert status == 0, f"{host}: {command}: status {status}\n{output}"
        return output

    def tried(self, host: str, command: str, timeout: float = 300) -> tuple[int, str]:
        """Run a shell command as root: its exit status, and both its output streams."""
        done = subprocess.run(
            ["ssh", "-F", self.paths.ssh_config, host, "--", "sudo", "sh"],
            input=command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout.strip()

    def python(self, host: str, script: str, group: str = "") -> str:
        """Run a Python script as root, in the control group of a unit if one is given."""
        join = f"echo $$ >{cgroup(group)}/cgroup.procs\n" if group else ""
        return self.root(host, f"{join}exec python3 - <<'SCRIPT'\n{script}\nSCRIPT\n")


def cgroup(unit: str) -> str:
    """Return the directory of a unit's control group, as a word of a shell script."""
    return f'"/sys/fs/cgroup$(systemctl show --value --property=ControlGroup {unit})"'


def changed_lines(process: subprocess.Popen[str], wanted: int) -> list[str]:
    """Read the output of a run up to its nth result that is a change, or to its end."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        wanted -= line.startswith("changed:")
        if not wanted:
            break
    return lines
