# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The access token of a task: from the session file, or freshly exchanged."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.federation import AccessToken
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.session_file import SessionFile


class AccessTokens:
    """Obtains access tokens, no more often than needed.

    :param obtain: fetches an identity token and exchanges it.
    :param session: where it is shared with other tasks, if anywhere.
    :param keep: whether a new one may be written there; not in check mode.
    """

    def __init__(
        self, obtain: Callable[[], AccessToken], session: SessionFile | None, keep: bool
    ) -> None:
        self._obtain = obtain
        self._session = session
        self._keep = keep
        self._token: AccessToken | None = None
        self.is_shared = False

    def current(self) -> str:
        """The token to send. :raises TunnelError: if none can be obtained."""
        if self._token is None and self._session is not None:
            self._token = self._session.read()
            self.is_shared = self._token is not None
        if self._token is None:
            return self.renew()
        return self._token.value

    def renew(self) -> str:
        """A token that was exchanged just now. :raises TunnelError: if that is denied."""
        self._token = self._obtain()
        self.is_shared = False
        if self._session is not None and self._keep:
            self._session.write(self._token)
        return self._token.value
