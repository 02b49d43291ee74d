"""``mcp-proxy reload``: asks the running proxy to reload, and waits for the outcome.

A signal cannot do that, and ``systemctl reload`` should say what is wrong. The two meet at a socket
in the service's own directory below ``/run`` (systemd.exec(5), ``RuntimeDirectory=``), which only
the service's user can open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field

from .succession import CODE

_SECONDS = 25.0
"""Less than the unit's TimeoutStartSec=, which applies to a reload as well."""

_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """With ``problems``, nothing has changed; otherwise ``needs_restart`` names fields of the
    configuration whose new values have to wait for the next start.

    With ``upgrading``, the proxy is about to become the release that asked: ask again then.
    """

    problems: list[str] = field(default_factory=list)
    needs_restart: list[str] = field(default_factory=list)
    upgrading: bool = False


class NoProxy(Exception):
    """There is nobody to ask, or no answer."""


def path(environ: Mapping[str, str]) -> str:
    """Return where the two meet, ``""`` if the service manager gave no directory."""
    directory = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return f"{directory}/control.sock" if directory else ""


class ReloadServer:
    """The proxy's end."""

    def __init__(
        self, reload: Callable[[str], Awaitable[Outcome]], upgrade: Callable[[], Awaitable[None]]
    ) -> None:
        """*reload* gets the place that the asking program's code came from."""
        self._reload = reload
        self._upgrade = upgrade
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
            verb, _dummy, code = (await reader.readline()).decode().rstrip("\n").partition(" ")
            if verb == "reload":
                outcome = await self._reload(code)
                writer.write(json.dumps(asdict(outcome)).encode())
                await writer.drain()
                if outcome.upgrading:
                    await self._upgrade()
        except (OSError, ValueError):
            pass  # the asking program is gone, or has asked for nothing
        finally:
            writer.close()


def ask(where: str) -> Outcome:
    """Have the proxy that listens at *where* reload. Raises :class:`NoProxy`."""
    deadline = time.monotonic() + _SECONDS
    outcome = _ask(where)
    if not outcome.upgrading:
        return outcome
    while True:
        time.sleep(0.1)
        with contextlib.suppress(NoProxy):
            outcome = _ask(where)
            if not outcome.upgrading:
                return outcome
        if time.monotonic() > deadline:
            raise NoProxy(f"the proxy at {where} has not become the release of this command")


def _ask(where: str) -> Outcome:
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_SECONDS)
            sock.connect(where)
            sock.sendall(f"reload {CODE}\n".encode())
            while len(answer) < _MAX_BYTES and (data := sock.recv(65536)):
                answer += data
        return Outcome(**json.loads(answer))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise NoProxy(f"no running proxy answers at {where}: {reason}") from None
    except (ValueError, TypeError):
        raise NoProxy(f"the proxy at {where} ended before it had reloaded") from None
