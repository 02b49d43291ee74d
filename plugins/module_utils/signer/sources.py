# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of mcp_tunnel_signer: each takes a request to somebody else."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.signer import program, vault
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.signer.settings import (
    Program,
    Signer,
)


def asker(signer: Signer, duration: str, credentials: str = "") -> Callable[[str], str]:
    """A function that hands a request (PEM) to the signer, and returns its answer as it comes.

    :param duration: the lifetime that is wanted, like ``2160h``.
    :param credentials: the directory of the unit that this process is in, which has the secret;
        empty outside of it.
    """
    if isinstance(signer, Program):
        return lambda request: program.ask(signer, credentials, request)
    return lambda request: vault.ask(signer, credentials, request, duration)
