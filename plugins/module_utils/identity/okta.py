# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identity tokens of Okta: client credentials, proven with a private key (RFC 7523 section 2.2)."""

from __future__ import annotations

import sys
import time
import uuid

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.identity import (
    Identity,
    json_text,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.local import read_token
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import Request
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.places import check_url

_LIFETIME = 300  # seconds
_REMEDY = (
    "Check identity_okta_client_id, identity_okta_key_id and identity_okta_scope, and that the "
    "application has the public key of identity_okta_key_file"
)


def from_okta(identity: Identity) -> str:
    """Asks an Okta authorization server for an access token of a service application."""
    issuer = check_url(identity.text("okta_issuer"), "identity_okta_issuer")
    url = f"{issuer}/v1/token"

    def proven() -> Request:
        return _request(identity, url)

    # Okta accepts an assertion once: a repeat has one of its own.
    reply = identity.web.send(proven(), again=proven)
    if not reply.is_good:
        code = str(reply.fields.get("error") or "without an error code")[:100]
        raise TunnelError("Okta", f"{url} answered {reply.status} {code}", _REMEDY)
    return json_text(reply, "access_token", "Okta", _REMEDY)


def _request(identity: Identity, url: str) -> Request:
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": _assertion(identity, url),
    }
    if identity.text("okta_scope"):
        form["scope"] = identity.text("okta_scope")
    return Request("POST", url, headers={"Accept": "application/json"}, form=form, wants_json=True)


def _assertion(identity: Identity, url: str) -> str:
    try:
        import jwt
    except ImportError:
        raise TunnelError(
            "Python library jwt",
            f"is not installed for the interpreter {sys.executable}",
            "Install python3-jwt or the PyPI package pyjwt for that interpreter",
        ) from None
    path = identity.text("okta_key_file")
    key = read_token(path)
    client_id, now = identity.text("okta_client_id"), int(time.time())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": url,
        "iat": now,
        "exp": now + _LIFETIME,
        "jti": str(uuid.uuid4()),
    }
    headers = {"kid": identity.text("okta_key_id")} if identity.text("okta_key_id") else None
    algorithm = identity.text("okta_algorithm", "RS256")
    try:
        return str(jwt.encode(claims, key, algorithm=algorithm, headers=headers))
    except (ValueError, TypeError, NotImplementedError, jwt.PyJWTError):
        # "from None": the cause may quote the key.
        raise TunnelError(
            path,
            f"is not an unencrypted PEM private key for {algorithm}",
            "Give the service application's key, and its algorithm with identity_okta_algorithm",
        ) from None
