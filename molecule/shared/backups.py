"""An operator who keeps backups of the state, and the keys that open them."""

from __future__ import annotations

import json
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pyrage
from replicas import killed_after_a_change, play

RESTORED = "mcp_tunnels.stack.provision : Judge the copy, and put it back"
COPIED = "mcp_tunnels.stack.provision : Copy it to the controller, encrypted"


class Operator:
    """What an operator keeps: a pair of keys, and a folder for backups."""

    def __init__(self, directory: Path, **others: Any) -> None:
        """Make the keys, and the variables of all runs: those of backups, and the others."""
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
                    # The machine that runs the tests may be a container.
                    "mcp_tunnel_state_is_persistent": True,
                    **others,
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

    def killed(self, playbook: str, task: str, *arguments: str) -> None:
        """Kill a run of a playbook once a task has changed something."""
        killed_after_a_change(
            "-e", f"@{self.variables}", *arguments, playbook=playbook, tasks=[task]
        )

    def backups(self) -> list[Path]:
        """Return the backups, the newest last."""
        return sorted(self.folder.glob("*.age"))

    def opened(self, text: str) -> dict[str, bytes]:
        """Return name to content of what is in a copy."""
        content = pyrage.decrypt(text.encode(), [self.identity])
        with tarfile.open(fileobj=BytesIO(content)) as archive:
            members = {each.name: archive.extractfile(each) for each in archive}
            return {name: stream.read() for name, stream in members.items() if stream}
