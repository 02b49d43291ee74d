# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the copies of a state, for the textfile collector of the node exporter."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import records
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.archive import seconds
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import textfile

_SEEN = (
    "mcp_tunnel_state_copy_timestamp_seconds",
    "When a run last saw the copy of the state; 0 if none is known.",
)
_CURRENT = (
    "mcp_tunnel_state_copy_current",
    "Whether the copy is of the state as it is, and kept.",
)


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
        if not self.directory:
            return
        file_name = f"mcp_tunnel_state_{self.instance}.prom"
        try:
            known = records.look(path)
        except TunnelError:
            # No fault of a run that is done: verify and state_copy name it.
            return
        if known.state:
            textfile.write(self.directory, file_name, self.instance, _gauges(known))
        else:
            secret_files.remove_file(os.path.join(self.directory, file_name))


def _gauges(known: records.Known) -> list[textfile.Gauge]:
    kinds: dict[str, textfile.Labels] = {kind: (("kind", kind),) for kind in records.KINDS}
    seen = {labels: _seen_at(kind, known) for kind, labels in kinds.items()}
    current = {labels: int(known.is_current(kind)) for kind, labels in kinds.items()}
    return [textfile.Gauge(*_SEEN, seen), textfile.Gauge(*_CURRENT, current)]


def _seen_at(kind: str, known: records.Known) -> int:
    copy = known.copies.get(kind)
    return int(seconds(copy.seen_at)) if copy else 0
