"""The origin of a request: by the rules of the file, else by `--url`, else none.

Vendor behaviour: the last rule takes everything; rules that the edge pushes replace all others
while the process runs; `/config` on the metrics address shows the rules in force.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_LAST = "The last ingress rule must match all URLs, and only the last one may"
_STATUS = "http_status:"
#: No rule and no URL says where requests go.
NOWHERE = f"{_STATUS}503"


class BadRules(ValueError):
    """Rules with which the vendor's binary does not start; the text is the binary's own."""


@dataclass(frozen=True)
class Rule:
    """Requests for `hostname` ("" and "*": all; "*.a.b": below a.b) and `path` go to `service`."""

    service: str
    hostname: str = ""
    path: str = ""

    def matches(self, host: str, path: str) -> bool:
        """Whether this rule applies to a request for this host and path."""
        named = self.hostname in ("", "*", host) or (
            self.hostname.startswith("*.") and host.endswith(self.hostname[1:])
        )
        return named and (not self.path or re.search(self.path, path) is not None)

    @property
    def status(self) -> int | None:
        """The status with which every request is answered, None if there is an origin."""
        return int(self.service[len(_STATUS) :]) if self.service.startswith(_STATUS) else None


@dataclass
class Ingress:
    """The rules in force, and the version of them: -1 until the edge has pushed some."""

    rules: Sequence[Rule]
    version: int = -1

    def choose(self, authority: str, path: str) -> Rule:
        """The rule for a request."""
        host = authority.rpartition(":")[0] if re.search(r":\d+$", authority) else authority
        return next(rule for rule in self.rules if rule.matches(host, path))

    def push(self, body: bytes) -> bytes:
        """Take the rules that the edge pushes, if newer and usable; return the answer."""
        failure = None
        try:
            pushed = json.loads(body)
            if int(pushed["version"]) > self.version:
                self.rules = parse(pushed["config"].get("ingress") or [])
                self.version = int(pushed["version"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            failure = {"error": str(error)}
        return _json({"lastAppliedVersion": self.version, "err": failure})

    def shown(self) -> bytes:
        """Return the body of `/config`."""
        rules: list[dict[str, object]] = [
            {
                "hostname": rule.hostname,
                "path": rule.path or None,
                "service": rule.service,
                "Handlers": None,
                "originRequest": {},
            }
            for rule in self.rules
        ]
        config = {"ingress": rules, "warp-routing": {}, "originRequest": {}}
        return _json({"version": self.version, "config": config})


def first(rules: Sequence[Mapping[str, Any]], url: str | None) -> Ingress:
    """The rules of a starting process: those of its file, else its `--url`. Raises BadRules."""
    return Ingress(parse(rules) if rules else [Rule(url or NOWHERE)])


def parse(rules: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """Check rules as they stand in a file or are pushed. Raises BadRules."""
    parsed = [
        Rule(*(str(rule.get(name) or "") for name in ("service", "hostname", "path")))
        for rule in rules
    ]
    for number, rule in enumerate(parsed):
        place = urlsplit(rule.service)
        if rule.status is None and not (place.scheme and place.hostname):
            raise BadRules(f"{rule.service} is an invalid address")
        catches_all = rule.hostname in ("", "*") and not rule.path
        if catches_all is not (number == len(parsed) - 1):
            raise BadRules(f"Rule #{number + 1}: {_LAST}")
    if not parsed:
        raise BadRules(_LAST)
    return parsed


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
