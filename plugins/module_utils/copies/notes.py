# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run has learned of the copies of a state, for the record beside it and for the metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import records
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.metrics import Metrics


@dataclass(frozen=True)
class Notes:
    """What is to be noted.

    :param copied: a copy that the run has made, or found, with its ``kind``; empty for none.
    :param seen: replicas to the SHA-256 of the copy that the run has found there, '' for none.
    :param at: when it has, in UTC as in RFC 3339.
    """

    copied: Mapping[str, Any] = field(default_factory=dict)
    seen: Mapping[str, str] = field(default_factory=dict)
    at: str = ""
    metrics: Metrics | None = None

    def check(self) -> None:
        """Refuses a place for the metrics that is not there. :raises TunnelError: naming it."""
        if self.metrics:
            self.metrics.check_place()

    def write(self, path: str) -> None:
        """Notes it beside the state in *path*.

        Without that directory, the instance was torn down.
        """
        if os.path.isdir(path):
            if self.copied:
                records.store(path, self.copied["kind"], records.as_copy(self.copied))
            if self.seen:
                records.see(path, self.seen, self.at)
        if self.metrics:
            self.metrics.write(path)
