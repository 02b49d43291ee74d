# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules as files: one for the host, which includes one for each of its instances; the units."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import file_entries

DIRECTORY = Path("/etc/nftables.d")
UNITS = Path("/etc/systemd/system")
_HOST = "mcp-tunnel.nft"
_INSTANCES = "mcp-tunnel.d"
# Absolute: administrators include our file from theirs, and nft would look elsewhere for it.
_INCLUDE = f'include "{DIRECTORY}/{_INSTANCES}/*.nft"\n'
UNIT = "mcp-tunnel-firewall.service"
COUNTERS = "mcp-tunnel-firewall-counters"
# Puts our table back when the distribution's service empties the ruleset.
_GUARD = "nftables.service.d/mcp-tunnel.conf"
# The service that the counters' service wants: it says how many connections cloudflared has.
CONNECTIONS = "mcp-tunnel-connections.service"
# The programs that these services and the guard run. They lie beside the rules of instances, not
# beside those of the host, because administrators include every file that is there.
_PROGRAMS = ("mcp-tunnel-counters.py", "mcp-tunnel-connections.py", "mcp-tunnel-restore.sh")
# Below the directory of units, but for the programs, which are there before what runs them.
UNIT_FILES = (
    *_PROGRAMS, UNIT, f"{COUNTERS}.service", f"{COUNTERS}.timer", CONNECTIONS, _GUARD,
)  # fmt: skip
# The links that `systemctl enable` makes, and their targets.
_LINKS = {
    f"sysinit.target.wants/{UNIT}": UNIT,
    f"timers.target.wants/{COUNTERS}.timer": f"{COUNTERS}.timer",
}


@dataclass(frozen=True)
class Rules:
    """Rules of a host and of its instances, in nft's language."""

    host: str = ""
    instances: dict[str, str] = field(default_factory=dict)

    def with_instance(self, host: str, instance: str, rules: str) -> Rules:
        """These, with other rules for the host and for one of its instances."""
        return Rules(host, {**self.instances, instance: rules})

    def without_instance(self, instance: str) -> Rules:
        """These, without those of one instance."""
        others = {name: text for name, text in self.instances.items() if name != instance}
        return replace(self, instances=others)

    @property
    def text(self) -> str:
        """All rules as nft reads the files: the included text stands in place of each include."""
        parts = [self.instances[name] for name in sorted(self.instances)]
        return self.host.replace(_INCLUDE, "".join(parts))

    @property
    def digest(self) -> str:
        """The same for the same rules."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class RuleFiles:
    """The files that the unit loads when the host boots, and those of the units."""

    def __init__(self, directory: Path = DIRECTORY, units: Path = UNITS) -> None:
        self._directory = directory
        self._unit_directory = units
        self._instances = directory / _INSTANCES
        self._units = tuple(map(self._unit_path, (*_LINKS, *UNIT_FILES)))
        self.host_path = directory / _HOST

    def instance_path(self, instance: str) -> Path:
        """The file of an instance."""
        return self._instances / f"{instance}.nft"

    def _unit_path(self, name: str) -> Path:
        return (self._instances if name in _PROGRAMS else self._unit_directory) / name

    def read(self) -> Rules:
        """The rules that the files hold now."""
        paths = sorted(self._instances.glob("*.nft"))
        return Rules(_text(self.host_path), {path.stem: _text(path) for path in paths})

    def write(self, rules: Rules) -> None:
        """Makes the files hold these rules and no others.

        The host's come first: an instance's rules do not work without its chains.
        """
        found = self.read()
        for directory in (self._directory, self._instances):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        public = secret_files.Attributes(os.geteuid(), os.getegid(), 0o644)
        wanted = {self.host_path: rules.host}
        wanted.update({self.instance_path(name): rules.instances[name] for name in rules.instances})
        for path, text in wanted.items():
            if _text(path) != text:
                secret_files.write_file(str(path), text.encode(), public)
        for name in found.instances.keys() - rules.instances.keys():
            secret_files.remove_file(str(self.instance_path(name)))

    def ensure_units(self, texts: dict[str, str], check_mode: bool) -> dict[str, Any]:
        """Puts the UNIT_FILES with these texts into systemd's directory, with the links for them.

        Returns ``changed``, ``changed_paths`` and ``diff``, as module file_set does.

        :raises TunnelError: if one is missing or too many, or something else is in its place.
        """
        if sorted(texts) != sorted(UNIT_FILES):
            raise TunnelError(
                "units",
                f"has {', '.join(sorted(texts)) or 'none'}",
                f"Give {', '.join(UNIT_FILES)}",
            )
        parents = {self._directory, *(path.parent for path in self._units)} - {self._unit_directory}
        directories = [_entry(path, state="directory", mode="0755") for path in sorted(parents)]
        files = [
            _entry(self._unit_path(name), state="file", mode="0644", content=texts[name])
            for name in UNIT_FILES
        ]
        links = [
            _entry(
                self._unit_directory / link, state="link", target=str(self._unit_directory / name)
            )
            for link, name in _LINKS.items()
        ]
        return file_entries.ensure_entries([*directories, *files, *links], check_mode)

    def exist(self) -> bool:
        """Whether any of the files exists."""
        rules = (self.host_path, *self._instances.glob("*.nft"))
        return any(secret_files.lstat(str(path)) for path in (*rules, *self._units))

    def remove(self) -> None:
        """Removes the files, and directories in which nothing else is."""
        for instance in self.read().instances:
            secret_files.remove_file(str(self.instance_path(instance)))
        for path in (self.host_path, *reversed(self._units)):
            secret_files.remove_file(str(path))
        for directory in (self._instances, self._directory, (self._unit_directory / _GUARD).parent):
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()


def _entry(path: Path, **facts: str) -> dict[str, Any]:
    """An entry of module file_set, which belongs to root and holds no secret."""
    return {"path": str(path), "owner": "root", "group": "root", "secret_content": None, **facts}


def _text(path: Path) -> str:
    return (secret_files.read_file(str(path)) or b"").decode("utf-8", "replace")
