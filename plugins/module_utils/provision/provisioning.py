# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option ``provisioning`` of the modules that work with and without the Tunnels API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

# Documented in the fragment "provisioning".
PROVISIONING_SPEC: dict[str, dict[str, Any]] = {
    "provisioning": {"type": "str", "choices": ["manual", "wif"], "default": "manual"},
}


def refuse_options(options: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuses options of the other way of provisioning.

    :raises TunnelError: naming the first one that is set.
    """
    for name in names:
        if options[name]:
            way = options["provisioning"]
            raise TunnelError(
                name,
                f"means nothing with provisioning={way}",
                f"Leave it out, or use provisioning={'wif' if way == 'manual' else 'manual'}",
            )
