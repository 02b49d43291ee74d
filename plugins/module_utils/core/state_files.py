# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The small files of a state directory: each has one value, and is whole or absent."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest, secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError


class StateFile:
    """One value in one file, for the running user only; empty text: no such file."""

    def __init__(self, directory: str, name: str, encryption: str = "") -> None:
        """A file of a state directory.

        :param encryption: one of at_rest.FORMS for what is written; empty for that of the file.
        """
        self.path = os.path.join(directory, name)
        self._encryption = encryption

    def read(self) -> str:
        """The value without white space around it.

        :raises TunnelError: if it is a secret that this host cannot decrypt.
        """
        content = at_rest.read_secret(self.path)
        return content.decode("utf-8", "replace").strip() if content else ""

    def holds(self, value: str) -> bool:
        """Whether the file holds this value with the right owner and permissions."""
        status = secret_files.lstat(self.path)
        if not status:
            return not value
        return self.read() == value and secret_files.private_attributes().match(status)

    def write(self, value: str) -> None:
        """Makes the file hold this value, without a newline: the file is the value."""
        attributes = secret_files.private_attributes()
        at_rest.write_secret(self.path, value.encode(), attributes, self._encryption)

    def ensure(self, value: str, check_mode: bool) -> bool:
        """Makes the file hold this value (empty: removes it); returns whether that is a change."""
        if self.holds(value):
            return False
        if not check_mode:
            if value:
                self.write(value)
            else:
                self.remove()
        return True

    def remove(self) -> None:
        """Removes the file, if it is there."""
        secret_files.remove_file(self.path)


class Intent:
    """A request to the API: written before it is made, removed once its answer is stored.

    A run that finds one first looks at what became of it.
    """

    def __init__(self, directory: str, name: str) -> None:
        self._file = StateFile(directory, name)

    def read(self) -> dict[str, Any]:
        """Its fields; empty when there is none.

        :raises TunnelError: if the file is damaged.
        """
        text = self._file.read()
        if not text:
            return {}
        try:
            fields = json.loads(text)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            raise TunnelError(
                self._file.path,
                "is damaged, so what an interrupted run has asked of the API is not known",
                "Compare the tunnel in the Console with this directory, then remove the file",
            )
        return fields

    def ensure(self, fields: dict[str, Any] | None, check_mode: bool) -> None:
        """Records the fields durably, or forgets them."""
        self._file.ensure(json.dumps(fields) if fields else "", check_mode)
