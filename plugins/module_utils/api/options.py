# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of every module that calls the Tunnels API, and the client that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.access_tokens import (
    AccessTokens,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.federation import (
    AccessToken,
    exchange,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.federation_ids import (
    Federation,
    check_federation,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.session_file import SessionFile
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.tunnels_api import (
    SURFACES,
    TunnelsApi,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.token import (
    check_tunnel_id,
    is_uuid,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.identity import Identity
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.sources import (
    IDENTITY_SPEC,
    check_source,
    origin,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.places import check_url
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.web import Web

# Documented in the fragments "api" and "identity".
API_SPEC: dict[str, dict[str, Any]] = {
    "api_url": {"type": "str", "default": "https://api.anthropic.com"},
    "api_surface": {"type": "str", "choices": list(SURFACES), "default": "tunnels"},
    "api_ca_bundle": {"type": "path"},
    "api_proxy": {"type": "str", "no_log": True},
    "api_timeout": {"type": "int", "default": 30},
    "api_retries": {"type": "int", "default": 4},
    "federation_rule_id": {"type": "str"},
    "organization_id": {"type": "str"},
    "service_account_id": {"type": "str"},
    "workspace_id": {"type": "str"},
    "session_file": {"type": "path"},
    **IDENTITY_SPEC,
}

_LOCAL_TIMEOUT, _LOCAL_RETRIES = 5.0, 2


def api_client(options: Mapping[str, Any]) -> TunnelsApi:
    """Checks the options of ``API_SPEC`` and returns the client; nothing is sent yet.

    :raises TunnelError: naming the option that is missing or malformed.
    """
    api_url = check_url(options["api_url"], "api_url")
    federation = check_federation(dict(options))
    source = check_source(options)
    web = api_web(options)
    identity = Identity(options, web, local_web())

    def obtain() -> AccessToken:
        return exchange(web, api_url, federation, lambda: source.fetch(identity), origin(options))

    session = None
    if options["session_file"]:
        # A literal may differ between tasks (a lookup), and says nothing that the IDs of the
        # federation do not say.
        names = [name for name in IDENTITY_SPEC if name != "identity_literal"]
        purpose = {name: options[name] for name in names if options[name]}
        purpose |= {"api_url": api_url, **federation.fields()}
        session = SessionFile(options["session_file"], purpose)
    tokens = AccessTokens(obtain, session)
    return TunnelsApi(web, api_url, options["api_surface"], tokens, _membership(federation))


def api_web(options: Mapping[str, Any]) -> Web:
    """The way to the API. :raises TunnelError: if an option about it is wrong."""
    for name, least in (("api_timeout", 1), ("api_retries", 0)):
        if options[name] < least:
            raise TunnelError(name, f"is less than {least}", "Leave it out for the default")
    return Web(
        timeout=float(options["api_timeout"]),
        retries=options["api_retries"],
        bundle=options["api_ca_bundle"],
        proxy=options["api_proxy"],
    )


def local_web() -> Web:
    """The way to metadata services, which answer at once or never."""
    return Web(timeout=_LOCAL_TIMEOUT, retries=_LOCAL_RETRIES, direct=True)


def _membership(federation: Federation) -> str:
    account = federation.service_account_id or f"of the rule {federation.rule_id}"
    workspace = federation.workspace_id or "that the rule covers"
    return f"the service account {account} a member of the workspace {workspace}"


def check_api_id(text: str, subject: str = "tunnel_id") -> str:
    """Returns a tunnel's ID in the form that the API takes.

    :raises TunnelError: if it is not ``tnl_...``.
    """
    tunnel_id = check_tunnel_id(text, subject)
    if is_uuid(tunnel_id):
        raise TunnelError(
            subject,
            "is the UUID that the token carries, which the API does not know",
            "Give the ID that begins with tnl_, as the Console shows it",
        )
    return tunnel_id
