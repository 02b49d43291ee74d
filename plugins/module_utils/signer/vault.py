# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has HashiCorp Vault or OpenBao sign a request: the PKI secrets engine, ``sign`` with a role.

The call is POST /v1/<mount>/sign/<role> of the engine's HTTP API, with the token in a header. The
answer has the certificate in data.certificate.
"""

from __future__ import annotations

import os

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.duration import parse_duration
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import (
    TunnelError,
    without_control,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.secret_files import read_file
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.signer.settings import (
    VARIABLE,
    Vault,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import (
    NoAnswer,
    Reply,
    Request,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.web import Web

_SECONDS = 20.0
"""For an answer. The unit of the signer has 45."""
_SHOWN = 500
"""Characters of its words that an error has."""
_STAYS = "The certificate in use stays"


def ask(vault: Vault, credentials: str, request: str, duration: str) -> str:
    """Has Vault sign one request (PEM), and returns the certificate of its answer.

    :param credentials: the directory of the unit that this process is in, which has the token;
        empty outside of it.
    :raises TunnelError: if it cannot be asked, or refuses.
    """
    token = _token(vault, credentials)
    if vault.ca_file and not os.path.isfile(vault.ca_file):
        raise _error(vault, f"is to be verified with {vault.ca_file}, which is no file", "Bring it")
    headers = {"X-Vault-Token": token, "X-Vault-Request": "true"}
    if vault.namespace:
        headers["X-Vault-Namespace"] = vault.namespace
    seconds = int(parse_duration(duration).total_seconds())
    body = {"csr": request, "ttl": f"{seconds}s", "format": "pem"}
    # Not repeated: Vault keeps each certificate.
    web = Web(timeout=_SECONDS, retries=0, bundle=vault.ca_file or None)
    try:
        reply = web.send(Request("POST", str(vault), headers=headers, body=body, repeatable=False))
    except NoAnswer as error:
        raise _error(vault, f"{error.subject} {error.problem}", error.remedy) from None
    if not reply.is_good:
        raise _refused(vault, reply, token)
    data = reply.fields.get("data")
    certificate = data.get("certificate") if isinstance(data, dict) else None
    if not isinstance(certificate, str):
        raise _error(vault, "answers without a certificate", "See that path names a role to sign")
    return certificate


def _token(vault: Vault, credentials: str) -> str:
    path = os.path.join(credentials, "secret") if credentials else vault.secret_file
    content = read_file(path)
    token = (content or b"").decode("utf-8", "replace").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise TunnelError(
            VARIABLE,
            f"{vault.secret_file} {'is no file' if content is None else 'has no token'}",
            "Have the token of Vault written there, on the state host, readable by root alone",
        )
    return token


def _refused(vault: Vault, reply: Reply, token: str) -> TunnelError:
    errors = reply.fields.get("errors")
    words = "; ".join(map(str, errors)) if isinstance(errors, list) else ""
    said = shown(without_control(" ".join(words.replace(token, "(token)").split())), _SHOWN)
    remedies = {403: "See the token in secret_file, and its policy", 404: "See the option path"}
    return _error(
        vault,
        f"answers HTTP {reply.status}{f': {said}' if said else ''}".rstrip("."),
        remedies.get(reply.status, "See the role, and the log of Vault"),
    )


def _error(vault: Vault, problem: str, remedy: str) -> TunnelError:
    return TunnelError(f"the signer {vault} ({VARIABLE})", problem, f"{_STAYS}. {remedy}")
