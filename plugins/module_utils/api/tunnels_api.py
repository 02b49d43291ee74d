# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Client of the Tunnels API (research preview), on both of its surfaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.access_tokens import (
    AccessTokens,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.errors import (
    ApiError,
    LostAnswer,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.objects import (
    Certificate,
    RevealedToken,
    Tunnel,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import (
    NoAnswer,
    Reply,
    Request,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.web import Web

_T = TypeVar("_T")
# The whole of a workspace in one call, unless it has more archived tunnels than that.
_PAGE = 1000
_MOST_PAGES = 100
# The version that the vendor's own clients ask for.
_API_VERSION = "2026-10-21"
# The beta header that opens the APIs of bearer tokens to a client.
_OAUTH_BETA = "oauth-2025-04-20"


@dataclass(frozen=True)
class Surface:
    """One of the two sets of paths, with its beta header and scope."""

    base: str
    beta: str
    scope: str
    can_create: bool


SURFACES = {
    "tunnels": Surface("/v1/tunnels", "mcp-tunnels-2026-06-22", "workspace:manage_tunnels", True),
    "organizations": Surface(
        "/v1/organizations/tunnels", "mcp-tunnels-2026-05-19", "org:manage_tunnels", False
    ),
}


class TunnelsApi:
    """The calls. Each raises a :class:`TunnelError` that names the object and the request-id.

    :param account: who calls, for messages: service account and workspace.
    """

    def __init__(
        self, web: Web, api_url: str, surface: str, tokens: AccessTokens, account: str
    ) -> None:
        self._web = web
        self._surface = SURFACES[surface]
        self._base = api_url + self._surface.base
        self._tokens = tokens
        self._account = account
        self._server_ahead: float | None = None

    def now(self) -> float | None:
        """The server's clock in seconds since 1970; ``None`` when no answer has given it."""
        if self._server_ahead is None:
            return None
        return datetime.now(timezone.utc).timestamp() + self._server_ahead

    def create_tunnel(self, display_name: str) -> Tunnel:
        """Makes a tunnel. :raises LostAnswer: if nobody knows whether it was made."""
        if not self._surface.can_create:
            raise TunnelError(
                "api_surface",
                "organizations cannot create tunnels",
                "Use api_surface=tunnels, or create the tunnel in the Console and give its ID",
            )
        subject = f"creating the tunnel {display_name!r}"
        return self._once(subject, "", {"display_name": display_name}, Tunnel.from_api)

    def tunnel(self, tunnel_id: str) -> Tunnel:
        """One tunnel, archived or not."""
        return Tunnel.from_api(self._get(f"tunnel {tunnel_id}", f"/{tunnel_id}").fields)

    def tunnels(self, include_archived: bool = False) -> list[Tunnel]:
        """All tunnels that the credentials can see, newest first."""
        return self._list("tunnels", "", include_archived, Tunnel.from_api)

    def archive_tunnel(self, tunnel_id: str) -> Tunnel:
        """Archives a tunnel permanently. Repeating it does no harm."""
        reply = self._post(f"archiving the tunnel {tunnel_id}", f"/{tunnel_id}/archive", None)
        return Tunnel.from_api(reply.fields)

    def reveal_token(self, tunnel_id: str) -> RevealedToken:
        """The tunnel's token, the same until it is rotated."""
        subject = f"revealing the token of the tunnel {tunnel_id}"
        return RevealedToken.from_api(
            self._post(subject, f"/{tunnel_id}/reveal_token", None).fields
        )

    def rotate_token(self, tunnel_id: str, reason: str) -> RevealedToken:
        """Makes a new token. :raises LostAnswer: if nobody knows whether it was made."""
        subject = f"rotating the token of the tunnel {tunnel_id}"
        return self._once(
            subject, f"/{tunnel_id}/rotate_token", {"reason": reason}, RevealedToken.from_api
        )

    def certificates(self, tunnel_id: str, include_archived: bool = False) -> list[Certificate]:
        """The CA certificates of a tunnel, newest first."""
        subject = f"CA certificates of the tunnel {tunnel_id}"
        path = f"/{tunnel_id}/certificates"
        return self._list(subject, path, include_archived, Certificate.from_api)

    def add_certificate(self, tunnel_id: str, pem: str) -> Certificate:
        """Registers a CA. :raises LostAnswer: if nobody knows whether it was registered."""
        return self._once(
            f"registering the CA on the tunnel {tunnel_id}",
            f"/{tunnel_id}/certificates",
            {"ca_certificate_pem": pem},
            Certificate.from_api,
        )

    def archive_certificate(self, tunnel_id: str, certificate_id: str) -> Certificate:
        """Archives a CA certificate. Repeating it does no harm."""
        reply = self._post(
            f"archiving the CA certificate {certificate_id}",
            f"/{tunnel_id}/certificates/{certificate_id}/archive",
            None,
        )
        return Certificate.from_api(reply.fields)

    def _list(
        self,
        subject: str,
        path: str,
        include_archived: bool,
        read: Callable[[Mapping[str, Any]], _T],
    ) -> list[_T]:
        found: list[_T] = []
        query = {"limit": str(_PAGE)}
        if include_archived:
            query["include_archived"] = "true"
        seen = set()
        while True:
            fields = self._get(subject, path, query).fields
            entries, page = fields.get("data"), fields.get("next_page")
            if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
                raise TunnelError(
                    subject,
                    "the API's answer holds no list (data)",
                    "Check api_url and api_surface",
                )
            found += [read(entry) for entry in entries]
            if not page or page in seen:
                return found
            seen.add(page)
            if len(seen) > _MOST_PAGES:
                raise TunnelError(
                    subject,
                    f"the API's list has no end: {len(found)} entries, and more",
                    "Check api_url: something other than the Tunnels API may answer there",
                )
            query["page"] = str(page)

    def _get(self, subject: str, path: str, query: Mapping[str, str] | None = None) -> Reply:
        return self._send(subject, Request("GET", self._base + path, query=query or {}))

    def _post(self, subject: str, path: str, body: Mapping[str, Any] | None) -> Reply:
        return self._send(subject, Request("POST", self._base + path, body=body))

    def _once(
        self,
        subject: str,
        path: str,
        body: Mapping[str, Any],
        read: Callable[[Mapping[str, Any]], _T],
    ) -> _T:
        """A call that must not happen twice."""
        request = Request("POST", self._base + path, body=body, repeatable=False)
        try:
            reply = self._send(subject, request)
        except ApiError as error:
            if error.status >= 500:
                raise LostAnswer(error) from None
            raise
        except NoAnswer as error:
            if error.sent:
                raise LostAnswer(error) from None
            raise
        try:
            return read(reply.fields)
        except TunnelError as error:
            raise LostAnswer(error) from None

    def _send(self, subject: str, request: Request) -> Reply:
        reply = self._ask(subject, request, _obtained(self._tokens.current))
        if reply.status == 401 and self._tokens.may_have_ended:
            # The token was revoked, or the service account was: a fresh exchange shows which.
            refused = ApiError(subject, reply)
            try:
                token = _obtained(self._tokens.renew)
            except TunnelError as error:
                raise _both(refused, error) from None
            reply = self._ask(subject, request, token)
        if reply.date:
            self._server_ahead = (reply.date - datetime.now(timezone.utc)).total_seconds()
        if not reply.is_good:
            raise ApiError(subject, reply, self._remedy(reply.status))
        return reply

    def _ask(self, subject: str, request: Request, token: str) -> Reply:
        try:
            return self._web.send(self._authorized(request, token))
        except NoAnswer as error:
            raise error.during(subject) from None

    def _authorized(self, request: Request, token: str) -> Request:
        headers = {
            "Authorization": f"Bearer {token}",
            "anthropic-version": _API_VERSION,
            "anthropic-beta": f"{self._surface.beta},{_OAUTH_BETA}",
        }
        return Request(
            request.method,
            request.url,
            headers,
            request.query,
            request.body,
            repeatable=request.repeatable,
            wants_json=True,
        )

    def _remedy(self, status: int) -> str:
        if status == 403:
            return (
                f"Give the federation rule the scope {self._surface.scope}, and make "
                f"{self._account}"
            )
        if status == 401:
            return (
                "The access token was exchanged a moment ago and is refused all the same: "
                "check that api_url is the one that the federation rule belongs to"
            )
        return ""


def _obtained(obtain: Callable[[], str]) -> str:
    """An access token. A failure says nothing of the call that needs it, so it is no ApiError."""
    try:
        return obtain()
    except (ApiError, NoAnswer) as error:
        raise TunnelError(error.subject, error.problem, error.remedy) from None


def _both(refused: ApiError, failed: TunnelError) -> TunnelError:
    """A call's refusal and the failure to get another access token: neither hides the other."""
    return TunnelError(
        refused.subject,
        f"{refused.problem}, with an access token from earlier in this run; a new one cannot be "
        f"had: {failed.subject}: {failed.problem}",
        failed.remedy,
    )
