"""Time that passes faster, for runs that wait for something that will not come."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from urllib3.connection import HTTPConnection

from lab.tests.loopback import PATIENCE, wait_for
from lab.tests.platforms import Api

# Seconds to connect, and then to wait for an answer.
_TIMEOUT = (PATIENCE, 0.05)
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

    api: Api
    pauses: list[float] = field(default_factory=list)
    silent: dict[str, int] = field(default_factory=dict)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Makes pauses short, and the timeout of silent calls; others keep theirs.

        That of a silent call begins when the API has done its part, however busy the machine is:
        a client that gives up looks for the effect of its call at once.
        """
        sleep, request = time.sleep, requests.Session.request
        getresponse = HTTPConnection.getresponse

        def nap(seconds: float) -> None:
            self.pauses.append(seconds)
            sleep(seconds / 100)

        def impatient(
            session: requests.Session, method: str, url: str, **options: Any
        ) -> requests.Response:
            call = _call(method, url)
            if not self.silent.get(call):
                return request(session, method, url, **options)
            self.silent[call] -= 1
            noted = self._noted(call)

            def late(connection: HTTPConnection) -> Any:
                wait_for(lambda: self._noted(call) > noted)
                return getresponse(connection)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(HTTPConnection, "getresponse", late)
                return request(session, method, url, **{**options, "timeout": _TIMEOUT})

        monkeypatch.setattr("time.sleep", nap)
        monkeypatch.setattr(requests.Session, "request", impatient)

    def _noted(self, call: str) -> int:
        """Return how often the API has done something about a call."""
        return sum(entry["call"] == call for entry in self.api.audit())


def _call(method: str, url: str) -> str:
    path = urlsplit(url).path
    found = [name for name, (verb, end) in _CALLS.items() if verb == method and path.endswith(end)]
    return found[0] if found else "get"
