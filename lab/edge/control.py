"""The edge's control API."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import LabError
from ..wire import control
from .connectors import Connectors
from .front import FrontDoor


@dataclass(frozen=True)
class EdgeControl:
    """The verbs, and the objects that they change."""

    connectors: Connectors
    front: FrontDoor

    def server(self) -> control.Control:
        """Return the server of the verbs."""
        return control.Control(
            {
                "status": self._status,
                "drop": lambda: {"dropped": self.connectors.drop()},
                "refuse": lambda: self._set(refusing=True),
                "accept": lambda: self._set(refusing=False),
                "rotate": self._rotate,
                "pin": lambda peer: self._set(pinned=str(peer)),
                "unpin": lambda: self._set(pinned=None),
                "push": self._push,
                "mute": lambda: self._set(udp=False),
                "unmute": lambda: self._set(udp=True),
            }
        )

    def _status(self) -> dict[str, object]:
        connections = [each.facts() for each in self.connectors.connections.values()]
        connections.sort(key=lambda facts: (str(facts["peer"]), str(facts["connIndex"])))
        return {
            "domain": self.front.domain,
            "refusing": self.connectors.refusing,
            "pinned": self.connectors.pinned,
            "udp": self.connectors.udp,
            "refused": self.connectors.refused,
            "carried": self.front.carried,
            "failed": self.front.failed,
            "last_failure": self.front.last_failure,
            "connections": connections,
        }

    def _rotate(self) -> dict[str, object]:
        self.connectors.directory.rotate()
        return {"token_file": str(self.connectors.directory.token)}

    async def _push(self, config: str) -> dict[str, object]:
        try:
            return {"answers": await self.connectors.push(json.loads(config))}
        except ConnectionError as error:
            raise LabError(f"the connector took nothing: {error}") from error

    def _set(self, **values: object) -> dict[str, object]:
        for name, value in values.items():
            setattr(self.connectors, name, value)
        return values


def ask(socket: Path, verb: str, *arguments: str) -> dict[str, Any]:
    """Client side: ask a running edge. Raises LabError."""
    answer: dict[str, Any] = control.ask(socket, "the edge", verb, *arguments)
    return answer
