"""A controller with a version of ansible-core, the hosts, and what nobody may read."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.core.paths import LabPaths
from lab.tests.support import RunningLab
from tests.execution_environment.jobs import Run, ended

ROOT = Path(__file__).resolve().parents[2]
#: Seconds: a busy machine takes ten times as long as a quiet one.
_LIMIT = 1800
#: The shapes of a federated access token, and of any JWT.
_SHAPES = re.compile(
    r"sk-ant-oat01-[A-Za-z0-9_-]{8}|eyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\."
)
_KEY = "-----BEGIN PRIVATE KEY-----"
_SECRETS = (
    "cat /var/lib/mcp-tunnel/default/ca*.key /etc/mcp-tunnel/default/tls/tls.key"
    " /var/lib/mcp-tunnel/default/tunnel-token /etc/mcp-tunnel/default/tunnel-token"
)


@dataclass
class Controller:
    """An environment with ansible-core, and a laboratory.

    Attributes:
        secrets: lines of keys and tokens that the hosts have had so far.
    """

    environment: Path
    paths: LabPaths
    secrets: set[str] = field(default_factory=set, repr=False)

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of the laboratory."""
        found: dict[str, Any] = json.loads(self.paths.facts.read_text())
        return found

    @property
    def hosts(self) -> list[str]:
        """The names of the hosts."""
        return [host["name"] for host in self.facts["hosts"]]

    def run(self, playbook: str, *arguments: str) -> Run:
        """Run a playbook in programmatic access, so verbosely that all results are shown.

        The run must end well and show no secret that a host has before or afterwards.
        """
        # None of this process: an operator has Ansible's environment alone.
        known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [f"{self.environment}/bin/ansible-playbook", "-vvv", "--diff"]
        command += [f"--inventory={self.paths.inventory('wif')}", *arguments]
        self._remember()
        run = ended([*command, f"{ROOT}/playbooks/{playbook}.yml"], known, _LIMIT)
        self._remember()
        # A failing test must not print them.
        squeezed = re.sub(r"[\s\"'\\]+", "", run.output)
        leaks = [number for number, line in enumerate(self.secrets) if line in squeezed]
        assert leaks == [], f"{playbook}: {len(leaks)} lines of keys or tokens are shown"
        assert not _SHAPES.search(run.output), f"{playbook}: a token is shown"
        assert run.status == 0, run.output[-4000:]
        return run

    def shell(self, host: str, command: str) -> str:
        """Run a command as root; return its output."""
        return RunningLab(self.paths).on(host, f"sudo sh -c '{command}'")

    def call(self, route: str) -> str:
        """The answer of a real MCP tool that repeats a text, called through the tunnel."""
        words = ("lab", "call", self.paths.name, route, "echo", '{"text": "through the tunnel"}')
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _remember(self) -> None:
        for host in self.hosts:
            text = self.shell(host, f"{_SECRETS} 2>/dev/null")
            self.secrets.update(secret_lines(text))


def secret_lines(text: str) -> set[str]:
    """The lines of the private keys in a text, and its tunnel tokens with their secret parts."""
    found: set[str] = set()
    rest, *keys = text.split(_KEY)
    for key in keys:
        lines, _, after = key.partition("-----END")
        # The third line has only the end of the public point, which certificates have, too.
        found.update(lines.split()[:2])
        rest += after
    # Not of a key: of its lines, too, one may look like the beginning of a token.
    for token in re.findall(r"eyJ[A-Za-z0-9+/=]{40,}", rest):
        found.update((token, json.loads(base64.b64decode(token))["s"]))
    return found
