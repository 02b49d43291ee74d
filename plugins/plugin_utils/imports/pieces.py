# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a deployment, wherever they are found, and two that differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

#: The files of the vendor's setup component, and the keys of its Secrets.
NAMES = ("tunnel-token", "tunnel-id", "tunnel-domain", "ca.crt", "ca.key", "tls.crt", "tls.key")
#: The key of the ConfigMap, and the name of the file in the container.
CONFIG = "config.yaml"


@dataclass(frozen=True)
class Found:
    """A part of a deployment.

    Attributes:
        where: the file, and the place in it, for messages.
        text: the content, without white space around it. It may be a secret.
    """

    where: str
    text: str


class Pieces:
    """Everything that was found, by the name of the part."""

    def __init__(self) -> None:
        """Begins with nothing."""
        self._found: dict[str, list[Found]] = {}
        #: The names of parts that are there, or may be, in a file that cannot be read.
        self.broken: set[str] = set()

    def add(self, name: str, where: str, text: str) -> None:
        """Adds a part. An empty one counts as none."""
        if text.strip():
            self._found.setdefault(name, []).append(Found(where, text.strip()))

    def get(self, name: str) -> Found | None:
        """The first that was found."""
        found = self._found.get(name)
        return found[0] if found else None

    def lacks(self, name: str) -> bool:
        """Whether it is nowhere, and everything that could have it was read."""
        return name not in self._found and name not in self.broken

    def conflicts(self) -> Iterator[TunnelError]:
        """One problem for each part that was found twice, and differs. No content is shown."""
        for name, found in self._found.items():
            others = [each.where for each in found if each.text != found[0].text]
            if others:
                yield TunnelError(
                    f"{name} in {found[0].where}",
                    f"differs from that in {others[0]}",
                    "Keep the one with which the deployment runs, and remove the other",
                )
