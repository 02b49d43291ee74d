"""The edge's control API: one JSON request and one JSON answer per connection to a unix socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LabError
from .connectors import Connectors
from .front import FrontDoor

VERBS = ("status", "drop", "refuse", "accept", "rotate", "pin", "unpin")
_TIMEOUT = 10.0


@dataclass(frozen=True)
class Control:
    """Server side."""

    connectors: Connectors
    front: FrontDoor

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            request = json.loads(await reader.readline())
            verbs: dict[str, Callable[..., object]] = {
                "status": self._status,
                "drop": lambda: {"dropped": self.connectors.drop()},
                "refuse": lambda: self._set(refusing=True),
                "accept": lambda: self._set(refusing=False),
                "rotate": self._rotate,
                "pin": lambda peer: self._set(pinned=str(peer)),
                "unpin": lambda: self._set(pinned=None),
            }
            answer = verbs[request["verb"]](*request.get("arguments", ()))
        except (ValueError, KeyError, TypeError) as error:
            answer = {"error": f"cannot understand the request: {error!r}"}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        writer.close()

    def _status(self) -> dict[str, object]:
        connections = [each.facts() for each in self.connectors.connections.values()]
        connections.sort(key=lambda facts: (str(facts["peer"]), str(facts["connIndex"])))
        return {
            "domain": self.front.domain,
            "refusing": self.connectors.refusing,
            "pinned": self.connectors.pinned,
            "refused": self.connectors.refused,
            "carried": self.front.carried,
            "failed": self.front.failed,
            "last_failure": self.front.last_failure,
            "connections": connections,
        }

    def _rotate(self) -> dict[str, object]:
        self.connectors.directory.rotate()
        return {"token_file": str(self.connectors.directory.token)}

    def _set(self, **values: object) -> dict[str, object]:
        for name, value in values.items():
            setattr(self.connectors, name, value)
        return values


def ask(control: Path, verb: str, *arguments: str) -> dict[str, Any]:
    """Client side: ask a running edge. Raises LabError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_TIMEOUT)
            sock.connect(str(control))
            sock.sendall(json.dumps({"verb": verb, "arguments": arguments}).encode() + b"\n")
            with sock.makefile() as file:
                answer: dict[str, Any] = json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise LabError(f"the edge does not answer at {control}: {error}") from error
    if "error" in answer:
        raise LabError(f"edge: {answer['error']}")
    return answer
