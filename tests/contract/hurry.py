"""Time that passes faster, for runs that wait for something that will not come."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

_TIMEOUT = 0.05
# Long enough that a call has had its effect before anybody looks for it.
_TIMEOUT_OF_EFFECTS = 0.3
_EFFECTS = ("create", "add_certificate", "rotate_token")
# Call of the API -> method and end of the path.
_CALLS = {
    "exchange": ("POST", "/v1/oauth/token"),
    "list": ("GET", "/v1/tunnels"),
    "create": ("POST", "/v1/tunnels"),
    "reveal_token": ("POST", "/reveal_token"),
    "rotate_token": ("POST", "/rotate_token"),
    "list_certificates": ("GET", "/certificates"),
    "add_certificate": ("POST", "/certificates"),
    "archive_certificate": ("POST", "/archive"),
}


@dataclass
class Hurry:
    """``pauses``: seconds requested. ``silent``: call -> number of answers that do not come."""

    pauses: list[float] = field(default_factory=list)
    silent: dict[str, int] = field(default_factory=dict)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Makes pauses short, and the timeout of silent calls; others keep theirs."""
        sleep, request = time.sleep, requests.Session.request

        def nap(seconds: float) -> None:
            self.pauses.append(seconds)
            sleep(seconds / 100)

        def impatient(
            session: requests.Session, method: str, url: str, **options: Any
        ) -> requests.Response:
            call = _call(method, url)
            if self.silent.get(call):
                self.silent[call] -= 1
                options["timeout"] = _TIMEOUT_OF_EFFECTS if call in _EFFECTS else _TIMEOUT
            return request(session, method, url, **options)

        monkeypatch.setattr("time.sleep", nap)
        monkeypatch.setattr(requests.Session, "request", impatient)


def _call(method: str, url: str) -> str:
    path = urlsplit(url).path
    found = [name for name, (verb, end) in _CALLS.items() if verb == method and path.endswith(end)]
    return found[0] if found else "get"
