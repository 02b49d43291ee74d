"""The lines that a request leaves in the log, and which of the client's words they repeat."""

from __future__ import annotations

import re
from typing import Final

from ..http.mcp_message import Message
from ..http.messages import Headers, RequestHead
from ..http.trace_context import trace_id
from . import log
from .log_lines import Frequent

_FINISHED: Final = Frequent(
    log.INFO,
    "request finished",
    ("route", "method", "mcp_method", "mcp_tool"),
    ("status", "bytes_in", "bytes_out", "seconds"),
)
_HIDDEN: Final = b"***"
_PARAMETER_NAME: Final = re.compile(rb"[A-Za-z0-9_.-]{1,40}\Z")
_PATH_PARAMETERS: Final = re.compile(rb";[^/]+")


class AccessLog:
    """Writes ``request finished``, with more in it if the setting ``access_log`` is on; for those
    who debug, ``request started`` before it.

    Never written: header fields except ``User-Agent`` and the trace-id, values in the query, and
    parameters of path segments (RFC 3986 §3.3); all of them may be credentials.
    """

    def __init__(self, full: bool) -> None:
        """*full* is the setting ``access_log``."""
        self._full = full

    def started(self, head: RequestHead, route: str) -> None:
        """Write the line at the beginning."""
        if log.logger.isEnabledFor(log.DEBUG):
            log.event(
                log.logger,
                log.DEBUG,
                "request started",
                route=route,
                method=head.method,
                host=head.authority,
                path=_path(head.target),
                http=head.http_version,
                trace_id=trace_id(head.headers),
            )

    def finished(
        self,
        head: RequestHead,
        route: str,
        status: int,
        received: int,
        sent: int,
        seconds: float,
        upstream_seconds: float | None,
        error: str | None,
        message: Message | None = None,
    ) -> None:
        """Write the line at the end.

        *status* is 0 if there was none; *received* and *sent* are bytes of content. *seconds* is
        the whole duration, *upstream_seconds* that until the upstream's answer began, connecting
        included, ``None`` if it never did. *error* says what went wrong. *message* is what the
        client says about its MCP message, in names that may be shown.
        """
        mcp_method, mcp_tool = message or (None, None)
        mcp_tool = mcp_tool or None
        if self._full:
            query = head.target.partition(b"?")[2]
            log.event(
                log.access,
                log.INFO,
                "request finished",
                route=route,
                method=head.method,
                mcp_method=mcp_method,
                mcp_tool=mcp_tool,
                host=head.authority,
                path=_path(head.target),
                query=_redacted(query) if query else None,
                http=head.http_version,
                status=status,
                bytes_in=received,
                bytes_out=sent,
                seconds=seconds,
                upstream_seconds=upstream_seconds,
                user_agent=_user_agent(head.headers),
                trace_id=trace_id(head.headers),
                error=error,
            )
            return
        if not log.logger.isEnabledFor(log.INFO):
            return
        trace = trace_id(head.headers)
        if trace is None and error is None:
            labels = (route, head.method, mcp_method, mcp_tool)
            log.frequent(_FINISHED, labels, (status, received, sent, round(seconds, 6)))
        else:
            log.event(
                log.logger,
                log.INFO,
                "request finished",
                route=route,
                method=head.method,
                mcp_method=mcp_method,
                mcp_tool=mcp_tool,
                status=status,
                bytes_in=received,
                bytes_out=sent,
                seconds=seconds,
                trace_id=trace,
                error=error,
            )


def _path(target: bytes) -> bytes:
    return _PATH_PARAMETERS.sub(b";" + _HIDDEN, target.partition(b"?")[0])


def _redacted(query: bytes) -> bytes:
    """Return the names of the parameters in *query*; any other part of it is hidden."""
    shown = []
    for parameter in query.split(b"&"):
        name, equals, _dummy = parameter.partition(b"=")
        if equals and _PARAMETER_NAME.match(name):
            shown.append(name + b"=" + _HIDDEN)
        elif parameter:
            shown.append(_HIDDEN)
    return b"&".join(shown)


def _user_agent(headers: Headers) -> bytes | None:
    for name, value in headers:
        if len(name) == 10 and name.lower() == b"user-agent":
            return value
    return None
