# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the certificates and keys that an operator brings, before any host is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shape
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.ca import validate_ca
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.server import (
    validate_server_cert,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.signer import settings

VARIABLES = (
    "mcp_tunnel_ca_cert",
    "mcp_tunnel_ca_key",
    "mcp_tunnel_server_cert",
    "mcp_tunnel_server_key",
)


def check_brought_credentials(values: Mapping[str, Any]) -> list[TunnelError]:
    """Everything that is wrong with brought certificates and keys, alone and with each other."""
    problems = [
        TunnelError(
            name,
            f"must be PEM text, is {shape(values[name])}",
            "Use for example lookup('ansible.builtin.file', 'ca.crt')",
        )
        for name in VARIABLES
        if values[name] and not isinstance(values[name], str)
    ]
    if problems:
        return problems
    try:
        has_signer = settings.read(values[settings.VARIABLE]) is not None
    except TunnelError as error:
        return [error]
    given = [bool(values[name]) for name in VARIABLES]
    problems = list(_check_signer(*given) if has_signer else _check_completeness(*given))
    return problems or list(_check_contents(values))


def _check_signer(
    ca_cert: bool, ca_key: bool, server_cert: bool, server_key: bool
) -> Iterator[TunnelError]:
    """Somebody else has the CA's key; each certificate is judged by the CA."""
    if not ca_cert:
        yield TunnelError(
            settings.VARIABLE,
            "signs for a CA that is not known",
            "Set mcp_tunnel_ca_cert to the CA's certificate, which is registered on the tunnel",
        )
    for name, is_given in zip(VARIABLES[1:], (ca_key, server_cert, server_key)):
        if is_given:
            yield TunnelError(
                name,
                f"does not go with {settings.VARIABLE}, which has certificates signed elsewhere",
                "Keep one of them",
            )


def _check_completeness(
    ca_cert: bool, ca_key: bool, server_cert: bool, server_key: bool
) -> Iterator[TunnelError]:
    if ca_key and not ca_cert:
        yield TunnelError(
            "mcp_tunnel_ca_key", "has no certificate", "Set mcp_tunnel_ca_cert as well"
        )
    if server_cert != server_key:
        given, missing = ("cert", "key") if server_cert else ("key", "cert")
        yield TunnelError(
            f"mcp_tunnel_server_{given}",
            "is only half of a pair",
            f"Set mcp_tunnel_server_{missing} as well, or neither of them",
        )
    if server_cert and not ca_cert:
        yield TunnelError(
            "mcp_tunnel_server_cert",
            "cannot be checked without the CA that signed it",
            "Set mcp_tunnel_ca_cert to the CA that is registered on the tunnel",
        )
    if ca_cert and not ca_key and not server_cert:
        yield TunnelError(
            "mcp_tunnel_ca_cert",
            "cannot sign the replicas' certificates without its key",
            "Set mcp_tunnel_ca_key, name the signer that has the key (mcp_tunnel_signer), or bring "
            "mcp_tunnel_server_cert and mcp_tunnel_server_key",
        )


def _check_contents(values: Mapping[str, Any]) -> Iterator[TunnelError]:
    ca_cert, ca_key, server_cert, server_key = (values[name] for name in VARIABLES)
    if not ca_cert:
        return
    try:
        validate_ca(
            ca_cert,
            private_key=ca_key or None,
            subject="mcp_tunnel_ca_cert",
            key_subject="mcp_tunnel_ca_key",
        )
        # Another rule refuses routes of another type.
        if server_cert and isinstance(values["mcp_tunnel_routes"], Mapping):
            validate_server_cert(
                server_cert,
                ca_cert,
                str(values["mcp_tunnel_domain"]),
                tuple(values["mcp_tunnel_routes"]),
                private_key=server_key,
                subject="mcp_tunnel_server_cert",
                key_subject="mcp_tunnel_server_key",
            )
    except TunnelError as error:
        yield error
