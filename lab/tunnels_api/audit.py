"""The audit log: one JSON line per request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .state import now

_SECRET_HEADERS = ("authorization", "x-api-key", "cookie")
_SECRET_FIELDS = ("assertion",)
_HIDDEN = "***"


@dataclass
class Entry:
    """A request and its outcome.

    `status` and `request_id` are None if no answer was sent; `reason` says why an exchange was
    denied. Credentials and secrets are hidden in `headers` and `body`.
    """

    call: str | None
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any = None
    status: int | None = None
    request_id: str | None = None
    fault: str | None = None
    reason: str | None = None
    time: str = field(default_factory=now)

    def __post_init__(self) -> None:
        self.headers = _hidden(self.headers, _SECRET_HEADERS)


def without_secrets(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request's JSON as it may be written down."""
    return _hidden(body, _SECRET_FIELDS)


def _hidden(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _HIDDEN if name in names else value for name, value in values.items()}


@dataclass(frozen=True)
class Audit:
    """The log in the file `path`."""

    path: Path

    def write(self, entry: Entry) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(entry)) + "\n")

    def read(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the entries, oldest first, without the first `since`."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()[since:]]
