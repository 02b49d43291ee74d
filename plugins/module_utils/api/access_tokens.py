# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The access token of a task: from the session file, or freshly exchanged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.federation import AccessToken
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.session_file import SessionFile


class AccessTokens:
    """Obtains access tokens, no more often than needed.

    :param obtain: fetches an identity token and exchanges it.
    :param session: where it is shared with other tasks, if anywhere; in check mode, too, because
        an identity token may be good for one exchange only.
    """

    def __init__(self, obtain: Callable[[], AccessToken], session: SessionFile | None) -> None:
        self._obtain = obtain
        self._session = session
        self._token: AccessToken | None = None
        self._is_shared = False

    @property
    def may_have_ended(self) -> bool:
        """Whether a refusal of the token may be cured by another one."""
        if self._token is None:
            return False
        return self._is_shared or self._token.expires_at <= datetime.now(timezone.utc)

    def current(self) -> str:
        """The token to send. :raises TunnelError: if none can be obtained."""
        if self._token is None and self._session is not None:
            self._token = self._session.read()
            self._is_shared = self._token is not None
        if self._token is None:
            return self.renew()
        return self._token.value

    def renew(self) -> str:
        """A token that was exchanged just now. :raises TunnelError: if that is denied."""
        self._token = self._obtain()
        self._is_shared = False
        if self._session is not None:
            self._session.write(self._token)
        return self._token.value
