# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity sources by name, with the options that belong to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity import aws as identity_aws
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity import (
    local as identity_local,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity import (
    metadata as identity_metadata,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity import (
    okta as identity_okta,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity import (
    spiffe as identity_spiffe,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.identity import Identity


@dataclass(frozen=True)
class Source:
    """The function that fetches a token, and the options (``identity_<name>``) for it."""

    fetch: Callable[[Identity], str]
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


SOURCES = {
    "file": Source(identity_local.from_file, needs=("file",)),
    "environment": Source(identity_local.from_environment, takes=("variable",)),
    "literal": Source(identity_local.from_literal, needs=("literal",)),
    "gcp": Source(identity_metadata.from_gcp, takes=("audience", "endpoint")),
    "azure": Source(
        identity_metadata.from_azure,
        needs=("azure_app_id",),
        takes=("azure_client_id", "endpoint"),
    ),
    "aws": Source(
        identity_aws.from_aws,
        takes=("audience", "endpoint", "aws_region", "aws_metadata_endpoint"),
    ),
    "spiffe": Source(
        identity_spiffe.from_spiffe, takes=("audience", "spiffe_socket", "spiffe_agent")
    ),
    "kubernetes": Source(identity_local.from_kubernetes, takes=("file",)),
    "github_actions": Source(identity_metadata.from_github_actions, takes=("audience",)),
    "okta": Source(
        identity_okta.from_okta,
        needs=("okta_issuer", "okta_client_id", "okta_key_file"),
        takes=("okta_key_id", "okta_scope", "okta_algorithm"),
    ),
    "command": Source(identity_local.from_command, needs=("command",)),
}

# Ansible's description of the options; documented in the fragment "identity".
IDENTITY_SPEC: dict[str, dict[str, Any]] = {
    "identity_source": {"type": "str", "choices": list(SOURCES)},
    "identity_audience": {"type": "str"},
    "identity_endpoint": {"type": "str"},
    "identity_file": {"type": "path"},
    "identity_variable": {"type": "str"},
    "identity_literal": {"type": "str", "no_log": True},
    "identity_azure_app_id": {"type": "str"},
    "identity_azure_client_id": {"type": "str"},
    "identity_aws_region": {"type": "str"},
    "identity_aws_metadata_endpoint": {"type": "str"},
    "identity_spiffe_socket": {"type": "str"},
    "identity_spiffe_agent": {"type": "path"},
    "identity_okta_issuer": {"type": "str"},
    "identity_okta_client_id": {"type": "str"},
    "identity_okta_key_file": {"type": "path", "no_log": False},
    "identity_okta_key_id": {"type": "str", "no_log": False},
    "identity_okta_scope": {"type": "str"},
    "identity_okta_algorithm": {"type": "str", "choices": ["RS256", "RS384", "RS512", "ES256"]},
    "identity_command": {"type": "list", "elements": "str"},
}


def origin(options: Mapping[str, Any]) -> str:
    """The token's name in messages: it says where the token comes from, without secrets.

    :param options: those of ``IDENTITY_SPEC``; unset ones are ``None``.
    """
    names = [
        name
        for name, spec in IDENTITY_SPEC.items()
        if options[name] and spec["type"] != "list" and not spec.get("no_log")
    ]
    return f"identity token ({', '.join(f'{name}={options[name]}' for name in names)})"


def check_source(options: Mapping[str, Any]) -> Source:
    """Finds the source that the options mean, before anything is fetched.

    :param options: those of ``IDENTITY_SPEC``; unset ones are ``None``.
    :raises TunnelError: if none is named, one of its options is missing, or another's is set.
    """
    name = options["identity_source"]
    if not name:
        raise TunnelError(
            "identity_source",
            "is missing",
            f"Say where this host's identity token comes from: {', '.join(SOURCES)}",
        )
    source = SOURCES[name]
    missing = [f"identity_{need}" for need in source.needs if not options[f"identity_{need}"]]
    if missing:
        raise TunnelError(
            "identity_source", f"{name} needs {' and '.join(missing)}", "Set what is missing"
        )
    allowed = {f"identity_{option}" for option in ("source", *source.needs, *source.takes)}
    foreign = [option for option in IDENTITY_SPEC if options[option] and option not in allowed]
    if foreign:
        raise TunnelError(
            "identity_source",
            f"{name} does not use {' and '.join(foreign)}",
            "Remove what belongs to another source, or name that source",
        )
    return source
