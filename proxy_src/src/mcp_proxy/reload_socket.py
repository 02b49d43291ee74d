"""``mcp-proxy reload``: asks the running proxy to reload, and waits for what comes of it.

A signal cannot do that, and ``systemctl reload`` should say what is wrong. The two meet at a socket
in the service's own directory below ``/run`` (systemd.exec(5), ``RuntimeDirectory=``), which only
the service's user can open.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field

_SECONDS = 25.0
"""Less than the unit's TimeoutStartSec=, which is for a reload as well."""

_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """``problems`` speak against it, and nothing has changed; else ``needs_restart`` names fields
    of the configuration whose new values have to wait for the next start."""

    problems: list[str] = field(default_factory=list)
    needs_restart: list[str] = field(default_factory=list)


class NoProxy(Exception):
    """There is nobody to ask, or no answer."""


def path(environ: Mapping[str, str]) -> str:
    """Where the two meet, ``""`` if the service manager gave no directory."""
    directory = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return f"{directory}/control.sock" if directory else ""


class ReloadServer:
    """The proxy's end."""

    def __init__(self, reload: Callable[[], Awaitable[Outcome]]) -> None:
        self._reload = reload
        self._server: asyncio.AbstractServer | None = None

    async def start(self, where: str) -> None:
        """Listen at the path *where*. Raises :class:`OSError`."""
        self._server = await asyncio.start_unix_server(self._serve, where)

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readline() == b"reload\n":
                outcome = await self._reload()
                writer.write(json.dumps(asdict(outcome)).encode())
                await writer.drain()
        except (OSError, ValueError):
            pass  # whoever asked is gone, or has not asked for anything
        finally:
            writer.close()


def ask(where: str) -> Outcome:
    """Have the proxy that listens at *where* reload. Raises :class:`NoProxy`."""
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_SECONDS)
            sock.connect(where)
            sock.sendall(b"reload\n")
            while len(answer) < _MAX_BYTES and (data := sock.recv(65536)):
                answer += data
        return Outcome(**json.loads(answer))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise NoProxy(f"no running proxy answers at {where}: {reason}") from None
    except (ValueError, TypeError):
        raise NoProxy(f"the proxy at {where} ended before it had reloaded") from None
