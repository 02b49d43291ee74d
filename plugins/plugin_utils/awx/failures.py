# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The refusal of an object by AWX: its message, and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

#: A message of awx.awx or AWX, to the remedy. The first that fits counts.
_REMEDIES = (
    (
        r"HTTP 401|Failed to get token",
        "Set controller_oauthtoken, or controller_username and controller_password, in "
        "mcp_tunnel_awx_connection",
    ),
    (
        r"HTTP 403|permission",
        "Run it as a user with the right to do that: docs/awx.md of the collection lists them",
    ),
    (
        r"HTTP Error 5\d\d|HTTP 5\d\d|server error",
        "See whether AWX is up and what its own log says",
    ),
    (
        r"resolve controller_host|trying to connect|network error|secure connection",
        "Check controller_host and validate_certs in mcp_tunnel_awx_connection",
    ),
    (
        r"Playbook not found",
        "Write the project with mcp_tunnels.stack.awx_project, push it, sync the project in AWX",
    ),
    (r"[Pp]roject update failed", "Look at the job of the project's update in AWX"),
    (
        r"returned 0 items|[Nn]ot found|[Cc]ould not find|NoneType",
        "Make the object that it names in AWX, or name another one",
    ),
)
_OTHERWISE = "Put its entry right"


def refused(title: str, answer: Mapping[str, Any], made: int) -> TunnelError:
    """The error for an object that AWX has refused.

    :param title: list and name of the object.
    :param answer: the result of the module. One that could not run says why in its error output.
    :param made: how many objects the run has made, changed or found before.
    """
    last = str(answer.get("module_stderr", "")).strip().splitlines()[-1:]
    text = " ".join(" ".join([str(answer.get("msg", "")), *last]).split())
    remedy = next((then for said, then in _REMEDIES if re.search(said, text)), _OTHERWISE)
    return TunnelError(
        title,
        f"AWX refused it: {text.rstrip('.')}",
        f"{remedy}, and run the playbook again; the {made} objects before it are as they should be",
    )
