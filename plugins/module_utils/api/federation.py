# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Token exchange (RFC 7523): an identity token becomes an access token of the vendor's API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.errors import ApiError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.federation_ids import Federation
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.jwt_claims import (
    check_jwt,
    decode_jwt,
    is_single_use,
    jwt_facts,
    jwt_findings,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import (
    NoAnswer,
    Reply,
    Request,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.web import Web

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_BETAS = "oauth-2025-04-20,oidc-federation-2026-04-01"
# A message mentions a clock that is off by more than this (seconds).
_NOTABLE_SKEW = 30


@dataclass(frozen=True)
class AccessToken:
    """An access token and the moment (aware) from which it is not used any more."""

    value: str = field(repr=False)
    expires_at: datetime


class _Assertions:
    """The identity tokens of one exchange.

    A token with a ``jti`` is accepted only once. So after an attempt that may have used it up,
    another one is fetched. If there is none, the operator sees the failure of that attempt.
    """

    def __init__(self, fetch: Callable[[], str], origin: str) -> None:
        self._fetch = fetch
        self._origin = origin
        self.token = check_jwt(fetch(), origin)

    @property
    def is_single_use(self) -> bool:
        return is_single_use(decode_jwt(self.token, self._origin))

    def has_another(self) -> bool:
        """Fetches another token if this one is used up; returns whether there is one to send."""
        if not self.is_single_use:
            return True
        try:
            fresh = check_jwt(self._fetch(), self._origin)
        except TunnelError:
            return False
        is_fresh = fresh != self.token
        self.token = fresh
        return is_fresh


def exchange(
    web: Web, api_url: str, federation: Federation, fetch: Callable[[], str], origin: str
) -> AccessToken:
    """Exchanges an identity token.

    :param fetch: gives the JWT; a second time, another one if the platform has issued one.
    :param origin: what the token is and where it comes from, for messages.
    :raises TunnelError: if it is no JWT, or the exchange is denied: with what can be checked here.
    """
    assertions = _Assertions(fetch, origin)

    def request() -> Request:
        return Request(
            "POST",
            f"{api_url}/v1/oauth/token",
            headers={"anthropic-beta": _BETAS},
            body={"grant_type": _GRANT, "assertion": assertions.token, **federation.fields()},
            wants_json=True,
        )

    try:
        reply = web.send(request(), again=lambda: request() if assertions.has_another() else None)
    except NoAnswer as error:
        failed = error.during("token exchange")
        raise _spent(failed) if error.sent and assertions.is_single_use else failed from None
    if not reply.is_good:
        if reply.status >= 500 and assertions.is_single_use:
            raise _spent(ApiError("token exchange", reply))
        raise _denied(reply, federation, assertions.token, origin)
    value, lifetime = reply.fields.get("access_token"), reply.fields.get("expires_in")
    if not isinstance(value, str) or not value:
        raise ApiError(
            "token exchange", reply, "Check api_url: the answer holds no access_token at all"
        )
    # A token without a stated end is used by this task only.
    seconds = lifetime if isinstance(lifetime, (int, float)) else 0
    now = datetime.now(timezone.utc).timestamp()
    return AccessToken(value, datetime.fromtimestamp(now + min(seconds, 86400), timezone.utc))


def _spent(failed: TunnelError) -> TunnelError:
    """That failure, where it may have used up the identity token."""
    return TunnelError(
        failed.subject,
        f"{failed.problem}; the identity token has a jti, so it is accepted once and was not sent "
        "again",
        f"Run again when the platform has issued another identity token. {failed.remedy}",
    )


def _denied(reply: Reply, federation: Federation, token: str, origin: str) -> ApiError:
    """The error for a denial. The vendor words all denials alike, so it adds local findings."""
    if reply.status != 401:
        return ApiError("token exchange", reply)
    here = datetime.now(timezone.utc)
    jwt = decode_jwt(token, origin)
    findings = jwt_findings(jwt, reply.date or here)
    skew = (here - reply.date).total_seconds() if reply.date else 0.0
    if abs(skew) > _NOTABLE_SKEW:
        side = "ahead of" if skew > 0 else "behind"
        findings.append(f"this host's clock is {abs(skew):.0f} s {side} the API's")
    if not federation.workspace_id:
        findings.append(
            "workspace_id is not given, which a rule that covers several workspaces needs"
        )
    if is_single_use(jwt):
        findings.append(
            "it has a jti, so it is accepted once: if any run or program has exchanged it before, "
            "another one is needed"
        )
    said = "; ".join(findings) or "nothing wrong shows from here"
    return ApiError(
        "token exchange",
        reply,
        f"Of the {origin}: {said}. Compare it with the rule {federation.rule_id}: "
        f"{jwt_facts(jwt)}. The reason stands in the Console, in the authentication history of "
        "Workload Identity",
    )
