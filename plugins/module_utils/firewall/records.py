# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of a host's firewall, in a directory for root only."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    listing as nft_listing,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.files import Rules

RECORDS = Path("/var/lib/mcp-tunnel-firewall")


class FirewallRecords:
    """Records of the host's rules: those loaded, on trial and proven good; and of counters."""

    def __init__(self, directory: Path = RECORDS) -> None:
        self._directory = directory

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock: instances that share this machine may be deployed at the same time."""
        secret_files.ensure_private_directory(str(self._directory), check_mode=False)
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def describe(self, rules: Rules, listing: list[dict[str, Any]] | None) -> bool:
        """Whether *listing* is what the kernel had when exactly these rules had been loaded."""
        if listing is None:
            return False
        return self._load("loaded") == _description(rules, listing)

    def loaded(self) -> dict[str, str]:
        """Digests of the rules that were loaded last and are on disk; empty if none were."""
        return self._load("loaded")

    def store_loaded(self, rules: Rules, listing: list[dict[str, Any]]) -> None:
        """Notes the kernel's table after the rules on disk were loaded."""
        self._store("loaded", _description(rules, listing))

    def on_trial(self, instance: str) -> dict[str, Any]:
        """The rules ``host`` and ``instance`` that wait for confirmation; empty if none do."""
        return self._load(f"trial-{instance}")

    def store_trial(self, instance: str, host: str, rules: str) -> None:
        """Keeps rules that are loaded and not yet on disk."""
        self._store(f"trial-{instance}", {"host": host, "instance": rules})

    def end_trial(self, instance: str) -> None:
        """Forgets the rules on trial."""
        secret_files.remove_file(str(self._path(f"trial-{instance}")))

    def good(self) -> Rules:
        """The rules that last passed the gate, separately for each instance."""
        record = self._load("good")
        return Rules(record.get("host", ""), record.get("instances", {}))

    def store_good(self, rules: Rules) -> None:
        """Keeps rules that were proven good."""
        self._store("good", {"host": rules.host, "instances": rules.instances})

    def looks(self, instance: str) -> dict[str, Any]:
        """The counters at the ``last`` deployment and at the one ``before`` it: at, totals."""
        return self._load(f"counters-{instance}")

    def look(self, instance: str, totals: nft_listing.Counters) -> None:
        """Notes the counters at the start of a deployment.

        Each instance has its own: a run deploys one after the other.
        """
        looks = self.looks(instance)
        now = {"at": int(time.time()), "totals": totals}
        self._store(f"counters-{instance}", {"last": now, "before": looks.get("last", now)})

    def forget(self, instance: str) -> None:
        """Removes the records of an instance whose rules are gone."""
        self.store_good(self.good().without_instance(instance))
        secret_files.remove_file(str(self._path(f"counters-{instance}")))

    def remove(self) -> None:
        """Removes all records."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def exist(self) -> bool:
        """Whether there is any record."""
        return self._directory.is_dir()

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _load(self, name: str) -> dict[str, Any]:
        content = secret_files.read_file(str(self._path(name)))
        return json.loads(content) if content else {}

    def _store(self, name: str, record: dict[str, Any]) -> None:
        content = json.dumps(record, sort_keys=True).encode()
        attributes = secret_files.private_attributes()
        secret_files.write_file(str(self._path(name)), content, attributes)


def _description(rules: Rules, listing: list[dict[str, Any]]) -> dict[str, str]:
    return {
        "rules": rules.digest,
        "table": nft_listing.digest(listing),
        "nft": nft_listing.nft_version(listing),
    }
