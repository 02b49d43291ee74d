"""Control APIs of the lab's services: one JSON request and one JSON answer per connection to a
unix socket.

Request: `{"verb": …, "arguments": […], "options": {…}}`. Answer: the verb's, or `{"error": …}`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import LabError

_TIMEOUT = 60.0
_LIMIT = 1 << 20


@dataclass(frozen=True)
class Control:
    """Server side. A verb returns what can be JSON, at once or as an awaitable."""

    verbs: Mapping[str, Callable[..., Any]]

    async def listen(self, path: Path) -> asyncio.Server:
        """Serve at the socket `path`, also when a killed predecessor left one there."""
        return await asyncio.start_unix_server(self._serve, path, limit=_LIMIT)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            verb = self.verbs[request["verb"]]
            answer = verb(*request.get("arguments", ()), **request.get("options", {}))
            if inspect.isawaitable(answer):
                answer = await answer
        except LabError as error:
            answer = {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            answer = {"error": f"cannot understand the request: {error!r}"}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        writer.close()


def ask(control: Path, who: str, verb: str, *arguments: object, **options: object) -> Any:
    """Client side: ask the service `who` at the socket `control`. Raises LabError."""
    request = {"verb": verb, "arguments": arguments, "options": options}
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_TIMEOUT)
            sock.connect(str(control))
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile() as file:
                answer = json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise LabError(f"{who} does not answer at {control}: {error}") from error
    if isinstance(answer, dict) and "error" in answer:
        raise LabError(f"{who}: {answer['error']}")
    return answer
