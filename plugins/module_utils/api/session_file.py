# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An access token that the tasks of one play share, in a file that only root can read.

Otherwise, three modules in three processes would exchange three tokens.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from datetime import datetime, timedelta, timezone

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.federation import AccessToken
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

# Memory, not disk: a leftover is gone with the next boot.
_BELOW = "/run/"
# No task begins with a token that ends within this time. It is short: a token may live for only a
# minute, and its identity token may be good for only one exchange.
_RESERVE = timedelta(seconds=10)


class SessionFile:
    """One file with one access token.

    :param path: below ``/run``.
    :param purpose: the options that the token was obtained with; a token of others is not used.
    :raises TunnelError: if the path is elsewhere, or its directory is somebody else's.
    """

    def __init__(self, path: str, purpose: dict[str, object]) -> None:
        self._path = secret_files.absolute_path(path)
        if not self._path.startswith(_BELOW):
            raise TunnelError(
                "session_file",
                f"{self._path} is not below {_BELOW}",
                f"Choose a path like {_BELOW}mcp-tunnel-provision/default, which no disk keeps",
            )
        self._directory = os.path.dirname(self._path)
        self._refuse_foreign()
        digest = hashlib.sha256(json.dumps(purpose, sort_keys=True, default=str).encode())
        self._purpose = digest.hexdigest()

    def _refuse_foreign(self) -> None:
        status = secret_files.lstat(self._directory)
        if status and (
            not stat.S_ISDIR(status.st_mode)
            or status.st_uid not in (0, os.geteuid())
            or status.st_mode & 0o022
        ):
            raise TunnelError(
                "session_file",
                f"{self._directory} is not a directory that only root can write to",
                "Choose a path in a directory of root's own; it is made when missing",
            )

    def read(self) -> AccessToken | None:
        """The token, when it is of this purpose, whole, ours and good for a while."""
        status = secret_files.lstat(self._path)
        if not status or not secret_files.private_attributes().match(status):
            return None
        try:
            fields = json.loads(secret_files.read_file(self._path) or b"")
            expires_at = datetime.fromtimestamp(float(fields["expires_at"]), timezone.utc)
            token = AccessToken(str(fields["access_token"]), expires_at)
            fits = fields["purpose"] == self._purpose
        except (ValueError, KeyError, TypeError, OverflowError):
            return None
        return token if fits and datetime.now(timezone.utc) + _RESERVE < expires_at else None

    def write(self, token: AccessToken) -> None:
        """Keeps a token for the tasks that follow.

        :raises TunnelError: if the directory is somebody else's.
        """
        if not secret_files.make_private_directory(self._directory):
            self._refuse_foreign()
        fields = {
            "access_token": token.value,
            "expires_at": token.expires_at.timestamp(),
            "purpose": self._purpose,
        }
        content = json.dumps(fields).encode()
        secret_files.write_file(self._path, content, secret_files.private_attributes())
