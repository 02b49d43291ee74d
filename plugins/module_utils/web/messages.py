# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests and replies, independent of any library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError


class NoAnswer(TunnelError):
    """Nobody answered the request, or the answer cannot be read.

    ``sent``: whether it may have taken effect.
    """

    def __init__(self, subject: str, problem: str, remedy: str, sent: bool) -> None:
        self.sent = sent
        super().__init__(subject, problem, remedy)

    def during(self, what: str) -> NoAnswer:
        """The same error, with the name of the work that was being done."""
        return NoAnswer(what, f"{self.subject} {self.problem}", self.remedy, self.sent)


@dataclass(frozen=True)
class Request:
    """One request. ``body`` is sent as JSON, ``form`` as a form, ``content`` as it is.

    ``repeatable``: whether sending it twice does no harm.
    ``wants_json``: whether a good answer has to be a JSON object.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = None
    content: bytes | None = None
    repeatable: bool = True
    wants_json: bool = False

    def __repr__(self) -> str:
        """Names the request only: headers and bodies carry secrets."""
        return f"Request({self.method} {self.place})"

    @property
    def place(self) -> str:
        """The URL without what may be secret: user, query, fragment."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"


@dataclass(frozen=True)
class Reply:
    """An answer, whatever its status. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def __repr__(self) -> str:
        """Its status only: the content may be a token."""
        return f"Reply({self.status})"

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON object in the answer; empty when it holds none."""
        try:
            value = json.loads(self.content)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def request_id(self) -> str:
        """The ID that the vendor's support asks for; empty when the server gives none."""
        return self.headers.get("request-id", "")[:100]

    @property
    def date(self) -> datetime | None:
        """The server's clock (aware), if the answer gives it."""
        return http_date(self.headers.get("date", ""))


def http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
