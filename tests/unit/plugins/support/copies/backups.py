"""A simulated tunnel with a CA that is one, and a backup of its state on the controller."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyrage
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import archive
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.state import State
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import (
    openssl,
    simulated_hosts,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.copies.states import (
    MADE_AT,
    make_files,
    make_pair,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation


@dataclass(frozen=True)
class Kept:
    """What an operator keeps: the backup, the identity, and the folder for more."""

    recipient: str
    identity: str
    identity_file: Path
    backup: Path
    folder: Path
    files: dict[str, bytes]

    def write(self, instance: str = "default", made_at: str = MADE_AT, **files: bytes) -> str:
        """Return a copy, with these files in place of its own; an empty one is left out."""
        changed = {name.replace("_", "."): content for name, content in files.items()}
        kept = {**self.files, **changed}
        state = State({name: content for name, content in kept.items() if content})
        content = archive.pack(state, archive.describe(state, instance, made_at, "9.8.7"))
        key = pyrage.x25519.Recipient.from_str(self.recipient)
        return pyrage.encrypt(content, [key], armored=True).decode()


def with_copies(simulation: Simulation, lost: bool = True) -> Kept:
    """Give the replicas a CA of openssl, and the controller a backup of the state.

    :param lost: whether the state host has no state any more.
    """
    directory = simulation.directory
    ca = openssl.make_ca(directory)
    files = make_files(ca)
    recipient, identity = make_pair()
    kept = Kept(
        recipient,
        identity,
        directory / "identity.txt",
        directory / "given.age",
        directory / "backups",
        files,
    )
    kept.identity_file.write_text(f"# public key: {recipient}\n{identity}\n")
    kept.identity_file.chmod(0o600)
    kept.backup.write_text(kept.write())
    trusted = {simulated_hosts.CONFIG: {"ca.crt": ca[0].strip()}}
    release = {"/opt/mcp-tunnel/proxy/current/bin": {}}
    state = {} if lost else {simulated_hosts.STATE: {"ca.crt": ca[0].strip()}}
    simulation.world["contents"] = {"host1": {**trusted, **release, **state}, "host2": trusted}
    simulation.variables |= {
        "mcp_tunnel_backup_recipients": [recipient],
        "mcp_tunnel_backup_dest": str(kept.folder),
        # The machine that runs the tests may be a container.
        "mcp_tunnel_state_is_persistent": True,
        "mcp_tunnel_backup_file": str(kept.backup),
        "mcp_tunnel_backup_identity_file": str(kept.identity_file),
    }
    return kept
