"""Access control: request headers, access tokens, scopes, workspaces."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ApiError
from ..state import AccessToken, Rule, State

#: Vendor rule: the older version still works, and so do calls that name no version.
_VERSIONS = ("2023-06-01", "2026-10-21")


@dataclass(frozen=True)
class Surface:
    """One of the two forms of the API."""

    prefix: str
    beta: str
    scope: str
    organization_wide: bool


SURFACES = (
    Surface("/v1/tunnels", "mcp-tunnels-2026-06-22", "workspace:manage_tunnels", False),
    Surface("/v1/organizations/tunnels", "mcp-tunnels-2026-05-19", "org:manage_tunnels", True),
)


def check_headers(headers: Mapping[str, str], surface: Surface) -> None:
    """Raise ApiError for an unknown version, or unless the surface's beta is asked for."""
    if headers.get("anthropic-version", _VERSIONS[-1]) not in _VERSIONS:
        raise ApiError(400, f"anthropic-version: this header must be {' or '.join(_VERSIONS)}")
    check_betas(headers, surface.beta)


def check_betas(headers: Mapping[str, str], *wanted: str) -> None:
    """Raise ApiError unless `anthropic-beta` names all that is wanted."""
    given = [word.strip() for word in headers.get("anthropic-beta", "").split(",")]
    for beta in wanted:
        if beta not in given:
            raise ApiError(400, f"anthropic-beta: this header must include {beta}")


def give_token(state: State, rule: Rule, workspace_id: str, lifetime: int) -> str:
    """Return a new access token under `rule` for one workspace; `lifetime` in seconds."""
    token = "sk-ant-oat01-" + secrets.token_urlsafe(64)
    moment = time.time()
    living = [each for each in state["access_tokens"] if each["expires"] > moment]
    given = AccessToken(
        sha256=_digest(token),
        expires=moment + lifetime,
        scope=rule["scope"],
        workspace_id=workspace_id,
        service_account_id=rule["service_account_id"],
    )
    state["access_tokens"] = [*living, given]
    return token


def authenticate(state: State, headers: Mapping[str, str]) -> AccessToken:
    """Return the access token of the request. Raises ApiError."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        digest = _digest(token.strip())
        for known in state["access_tokens"]:
            if known["sha256"] == digest and known["expires"] > time.time():
                return known
    raise ApiError(401, "invalid, expired or missing access token")


def authorize(
    state: State, token: AccessToken, headers: Mapping[str, str], surface: Surface
) -> str | None:
    """Return the workspace to act in, None for all. Raises ApiError."""
    if surface.scope not in token["scope"].split():
        raise ApiError(403, f"the access token lacks the scope {surface.scope}")
    workspace = token["workspace_id"]
    if headers.get("anthropic-workspace-id", workspace) != workspace:
        raise ApiError(403, "anthropic-workspace-id: the access token is bound to another one")
    if surface.organization_wide:
        return None
    for account in state["service_accounts"]:
        if account["id"] == token["service_account_id"] and workspace in account["workspaces"]:
            return workspace
    raise ApiError(403, f"the service account is not a member of workspace {workspace}")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
