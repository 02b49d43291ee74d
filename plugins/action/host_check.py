# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a host for its facts; a host may lie, but only in the form of such facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check.facts import (
    ARCHITECTURES,
    DISTRIBUTIONS,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.releases import (
    MOST,
    PARTS,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
    names_in,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    FINGERPRINT,
    HOST_NAME,
    MARKED,
    RELEASE,
    SSH_KEY,
    either,
    empty,
    flag,
    ip_address,
    list_of,
    matching,
    number,
    one_of,
    record,
    subset,
)

_PYTHON = r"3\.[0-9]{1,2}\.[0-9]{1,2}(?:[a-z+][0-9a-z+]{0,11})?"


class ActionModule(CheckedModule):
    """The answer becomes part of file names, of arguments of pip and of units."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        users = names_in(arguments.get("users", []))
        # Only with auto may a host say that it cannot.
        wanted = str(arguments.get("encryption") or at_rest.NONE)
        forms = (at_rest.NONE, at_rest.HOST) if wanted == at_rest.AUTO else (wanted,)
        facts = {
            "machine": matching("[0-9a-f]{16}", "identity of a machine"),
            "identity": matching("[0-9a-f]{16}", "identity of an installation"),
            "remembered": record(
                {
                    "state_host": either(HOST_NAME, empty),
                    "replicas": list_of(HOST_NAME, 500),
                    "breached": list_of(MARKED, 500),
                },
                optional=("breached",),
            ),
            "drained": flag,
            "standby": either(FINGERPRINT, empty),
            "stale_files": subset(names_in(arguments.get("stale_files", []))),
            "architecture": one_of(ARCHITECTURES),
            "distribution": one_of(DISTRIBUTIONS),
            "python_version": matching(_PYTHON, "version of Python 3", 32),
            "systemd_version": number(1, 99999),
            "cores": number(1, 65536),
            "resolvers": list_of(ip_address, 64),
            "users": subset(users),
            "encryption": one_of(forms),
            "renewal_key": either(SSH_KEY, empty),
            "releases": record(dict.fromkeys(PARTS, RELEASE), optional=PARTS),
            "unpacked": record(dict.fromkeys(PARTS, list_of(RELEASE, MOST))),
        }
        return {"facts": record(facts)}
