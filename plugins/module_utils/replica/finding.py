# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One row of the health table, from any of the checks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One row of the table. The journal of ``unit`` explains a failure.

    ``required``: whether a failure means that the replica does not work.
    ``purpose``: a word for a thing that is out of service because an operator wants it so. On a
    failure: it lies between that and service, because a run was interrupted.
    """

    layer: str
    object: str
    ok: bool
    detail: str
    remedy: str = ""
    unit: str = ""
    required: bool = True
    purpose: str = ""

    @property
    def state(self) -> str:
        """The word in the table."""
        if self.ok:
            return self.purpose or "ok"
        return "FAILED" if self.required else "down"


def stranger(layer: str, url: str, found: Exception, unit: str, variable: str) -> Finding:
    """The row for a port that is held, but not by *unit*; *variable* sets the port."""
    remedy = f"End that program and restart {unit}, or give {variable} another port"
    return Finding(layer, url, False, str(found), remedy, unit)
