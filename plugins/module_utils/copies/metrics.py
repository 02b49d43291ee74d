# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the copies of a state, for the textfile collector of the node exporter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import records
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.archive import seconds
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

# The label is not "instance", which is Prometheus' own.
_FAMILIES = {
    "mcp_tunnel_state_copy_timestamp_seconds": (
        "When a run last saw the copy of the state; 0 if none is known."
    ),
    "mcp_tunnel_state_copy_current": "Whether the copy is of the state as it is, and kept.",
}


@dataclass(frozen=True)
class Metrics:
    """The file of one instance.

    :param directory: where the collector looks; empty for no file.
    """

    instance: str
    directory: str

    def check_place(self) -> None:
        """Refuses a directory that is not there. :raises TunnelError: naming it."""
        if self.directory and not os.path.isdir(self.directory):
            raise TunnelError(
                "mcp_tunnel_textfile_dir",
                f"{self.directory} is no directory of this host",
                "Give that of the node exporter (--collector.textfile.directory), or leave it out",
            )

    def write(self, path: str) -> None:
        """Writes what is known of the copies of the state in *path*; removes the file without one.

        Readers never see half of it.
        """
        if not self.directory or not os.path.isdir(self.directory):
            return
        file = os.path.join(self.directory, f"mcp_tunnel_state_{self.instance}.prom")
        known = records.look(path)
        if not known.state:
            secret_files.remove_file(file)
            return
        text = "\n".join([*self._lines(known), ""])
        attributes = secret_files.Attributes(os.geteuid(), os.getegid(), 0o644)
        if secret_files.read_file(file) != text.encode():
            secret_files.write_file(file, text.encode(), attributes)

    def _lines(self, known: records.Known) -> Iterator[str]:
        for name, meaning in _FAMILIES.items():
            yield f"# HELP {name} {meaning}"
            yield f"# TYPE {name} gauge"
            for kind in records.KINDS:
                labels = f'{{mcp_tunnel_instance="{self.instance}",kind="{kind}"}}'
                yield f"{name}{labels} {_value(name, kind, known)}"


def _value(name: str, kind: str, known: records.Known) -> int:
    if name.endswith("_current"):
        return int(known.is_current(kind))
    copy = known.copies.get(kind)
    return int(seconds(copy.seen_at)) if copy else 0
