# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of module tunnel_info: the API's tunnels, and the result of a query on them."""

from __future__ import annotations

import sys
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.options import check_api_id
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.tunnels_api import TunnelsApi
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

try:
    import jmespath
except ImportError:
    jmespath = None


def compile_query(text: str | None) -> Any:
    """A JMESPath expression, checked before anything is asked; ``None`` if there is none.

    :raises TunnelError: if it is not one, or the library is missing.
    """
    if not text:
        return None
    if jmespath is None:
        raise TunnelError(
            "Python library jmespath",
            f"is not installed for the interpreter {sys.executable}",
            "Install python3-jmespath or the PyPI package jmespath for that interpreter, or leave "
            "query out",
        )
    try:
        return jmespath.compile(text)
    except jmespath.exceptions.JMESPathError as error:
        raise _wrong_query(error) from None


def tunnel_report(
    api: TunnelsApi, tunnel_id: str | None, include_archived: bool, query: Any
) -> dict[str, Any]:
    """Tunnels with their CA certificates, newest first, as the module's result.

    :param query: from :func:`compile_query`.
    :raises TunnelError: if the API refuses, or the query does not fit what it said.
    """
    one = [api.tunnel(check_api_id(tunnel_id))] if tunnel_id else []
    tunnels = one or api.tunnels(include_archived)
    report = [
        {
            **tunnel.public(),
            "certificates": [
                certificate.public()
                for certificate in api.certificates(tunnel.id, include_archived)
            ],
        }
        for tunnel in tunnels
    ]
    result: dict[str, Any] = {"changed": False, "tunnels": report}
    if query is not None:
        try:
            result["result"] = query.search(report)
        except jmespath.exceptions.JMESPathError as error:
            raise _wrong_query(error) from None
    return result


def _wrong_query(error: Exception) -> TunnelError:
    reason = " ".join(str(error).split())
    return TunnelError("query", f"cannot be used ({reason})", "See https://jmespath.org")
