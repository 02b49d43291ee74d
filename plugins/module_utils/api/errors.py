# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the vendor's API, with everything that its support would ask for."""

from __future__ import annotations

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import Reply

_REMEDIES = {
    400: "Correct what the message names",
    404: "Check the ID, and that the credentials belong to the workspace of that tunnel",
    409: "Look at the tunnel in the Console, or with the module tunnel_info",
    413: "Send less: a CA is at most 8 kB of PEM",
    429: "Wait a minute and run again",
}
_LATER = "Run again in a while; the vendor's status page and support want the request-id"


class ApiError(TunnelError):
    """The API refused a call, or could not serve it.

    ``status``: of HTTP. ``detail``: the API's own text.
    """

    def __init__(self, subject: str, reply: Reply, remedy: str = "") -> None:
        self.status = reply.status
        error = reply.fields.get("error")
        described = error if isinstance(error, dict) else {}
        kind = _line(described.get("type"), "no error type", 100)
        self.detail = _line(described.get("message"), "no message", 500)
        # Gateways in between answer without header; the body then may have it.
        self.request_id = _line(reply.request_id or reply.fields.get("request_id"), "unknown", 100)
        super().__init__(
            subject,
            f"the API answered {reply.status} {kind}: {self.detail.rstrip('.')} "
            f"(request-id {self.request_id})",
            remedy or _REMEDIES.get(reply.status, _LATER),
        )


def _line(value: object, default: str, longest: int) -> str:
    """A server's text as a part of one line: it cannot fake the beginning of another line."""
    return " ".join(str(value or default)[:longest].split()) or default


class LostAnswer(TunnelError):
    """A call that must not be repeated blindly was sent; its effect is unknown."""

    def __init__(self, cause: TunnelError) -> None:
        super().__init__(
            cause.subject,
            f"{cause.problem}; whether it took effect is not known",
            "Run again: the next run looks first at what this one did",
        )
