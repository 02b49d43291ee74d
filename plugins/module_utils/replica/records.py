# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of a replica: what its services were started with, and what was proven."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import check_instance

RECORDS = Path("/var/lib/mcp-tunnel-replica")
LAST_SUCCESS = "renewal"
"""The record, empty, that was written when a renewal was possible last."""
TRAFFIC = "traffic"
"""The record of what a proxy that was good had counted, before it was changed."""
_STATES = ("applied", "good")


class Records:
    """The records of one instance, in a directory for root only (they hold its secrets)."""

    def __init__(self, instance: str, root: Path = RECORDS) -> None:
        self._directory = root / check_instance(instance)

    def load(self, name: str) -> dict[str, Any]:
        """The record *name*, empty if there is none; ``applied`` and ``good`` are unit to state."""
        content = secret_files.read_file(str(self._directory / f"{name}.json"))
        return json.loads(content) if content else {}

    def store(self, name: str, record: dict[str, Any]) -> None:
        """Writes the record; the contents that it names must have been kept before."""
        content = json.dumps(record, sort_keys=True).encode()
        self._write(f"{name}.json", content)

    def keep(self, digest: str, content: bytes) -> None:
        """Keeps a file's content under its SHA-256."""
        if not (self._directory / digest).exists():
            self._write(digest, content)

    def content(self, digest: str) -> bytes:
        """The content that was kept under this SHA-256."""
        return secret_files.read_file(str(self._directory / digest)) or b""

    def written_at(self, name: str) -> float | None:
        """When the record *name* was written, in seconds since the epoch; None if there is none."""
        status = secret_files.lstat(str(self._directory / f"{name}.json"))
        return status.st_mtime if status else None

    def take_for_good(self, paths: list[str]) -> None:
        """Records these files, as they are now, as applied and good, if the records name them.

        For files that were replaced by their equals outside a deployment: a return to the good
        state must not bring back a certificate that has expired since.
        """
        for name in _STATES:
            record = self.load(name)
            for service in record.values():
                for path in service["files"].keys() & set(paths):
                    state = service["files"][path] = file_state(path)
                    if state:
                        self.keep(state["digest"], secret_files.read_file(path) or b"")
            if record:
                self.store(name, record)
        if self._directory.is_dir():
            self.forget_contents()

    def forget_contents(self) -> None:
        """Removes the contents that neither record names."""
        named = {
            file["digest"]
            for record in (self.load("applied"), self.load("good"))
            for service in record.values()
            for file in service["files"].values()
            if file
        }
        for path in self._directory.iterdir():
            if path.suffix != ".json" and path.name not in named:
                secret_files.remove_file(str(path))

    def remove(self, check_mode: bool) -> bool:
        """Removes all of it; returns whether there was anything."""
        if secret_files.lstat(str(self._directory)) is None:
            return False
        if not check_mode:
            shutil.rmtree(self._directory)
        return True

    def is_alone(self) -> bool:
        """Whether no other instance of this machine has records."""
        return all(path == self._directory for path in self._directory.parent.glob("*"))

    def versions_on_this_machine(self, part: str) -> set[str]:
        """The releases of *part* that any instance of this machine runs or may have to put back."""
        records = (
            json.loads(path.read_bytes())
            for name in _STATES
            for path in self._directory.parent.glob(f"*/{name}.json")
        )
        states = (state for record in records for state in record.values())
        return {state["version"] for state in states if state["part"] == part}

    def _write(self, name: str, content: bytes) -> None:
        secret_files.ensure_private_directory(str(self._directory.parent), check_mode=False)
        secret_files.ensure_private_directory(str(self._directory), check_mode=False)
        path = str(self._directory / name)
        secret_files.write_file(path, content, secret_files.private_attributes())


def file_state(path: str) -> dict[str, Any] | None:
    """Content, owner and permissions of a file, None when it is not there."""
    content = secret_files.read_file(path)
    if content is None:
        return None
    status = os.lstat(path)
    return {
        "digest": hashlib.sha256(content).hexdigest(),
        "owner": status.st_uid,
        "group": status.st_gid,
        "mode": stat.S_IMODE(status.st_mode),
    }
