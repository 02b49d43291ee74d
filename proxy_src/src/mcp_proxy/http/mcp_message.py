"""What a client says about its MCP message in header fields; the message itself is never read.

``Mcp-Method`` and ``Mcp-Name`` are the standard fields of the Streamable HTTP transport from
revision 2026-07-28 on (SEP-2243). Anybody may write anything there. So only names that are known
beforehand are shown as they are, and nobody can make the number of time series grow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .messages import Headers

METHODS: Final = frozenset(
    (
        "completion/complete",
        "initialize",
        "logging/setLevel",
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/progress",
        "notifications/roots/list_changed",
        "notifications/tasks/status",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "server/discover",
        "subscriptions/listen",
        "tasks/cancel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tools/call",
        "tools/list",
    )
)
"""The requests and notifications of clients in the specification's schema, revisions 2025-11-25 and
2026-07-28: https://modelcontextprotocol.io/specification/2026-07-28/schema (ClientRequest,
ClientNotification)."""

OTHER: Final = "other"
"""Stands for every other method, and for every tool that the operator has not named."""

Message = tuple[str, str]
"""A method, or :data:`OTHER`; a tool, :data:`OTHER`, or ``""`` if no tool is called."""

_METHOD: Final = b"mcp-method"
_NAME: Final = b"mcp-name"
_CALL: Final = b"tools/call"


class McpNames:
    """The names that are shown: the specification's methods, the operator's tools."""

    def __init__(self, tools: Iterable[str] = ()) -> None:
        """*tools* are names in ASCII, which clients send as they are."""
        self._methods = {method.encode("ascii"): method for method in METHODS}
        self._tools = {tool.encode("ascii"): tool for tool in tools}

    def message(self, headers: Headers) -> Message | None:
        """Return what *headers* say; ``None`` if there is no ``Mcp-Method``."""
        method = _value(headers, _METHOD)
        if method is None:
            return None
        tool = _value(headers, _NAME) if method == _CALL else None
        shown = "" if tool is None else self._tools.get(tool, OTHER)
        return self._methods.get(method, OTHER), shown


def _value(headers: Headers, wanted: bytes) -> bytes | None:
    length = len(wanted)
    for name, value in headers:
        # The length first: nearly every field is ruled out by it.
        if len(name) == length and name.lower() == wanted:
            return value
    return None
