"""Entry point of the stand-in: acts as `cloudflared tunnel … run …` does, to its exit status."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import os
import random
import signal
import socket
import ssl
import sys
import uuid
from dataclasses import dataclass, field, replace

from async_timeout import timeout

from . import ingress, prechecks
from .connection import Context, EdgeConnection, Lost
from .discovery import Address, LookupFailed, edge_addresses, preferred_protocol
from .flags import Options, Usage, parse
from .log import Log
from .protocol import HTTP2, QUIC, Choice
from .quic import DialError
from .registration import Identity, Refused
from .status import Status, StatusServer

VERSION = "2026.10.0"
_INTERVAL = 1.0
_FIRST_RETRY = 1.0
_RETRY = 10.0
_COMPLAINTS: dict[type[Exception], str] = {
    Refused: "Register tunnel error from server side",
    Lost: "Serve tunnel error",
}


def main() -> int:
    """Run the command line and return the exit status."""
    try:
        options = parse(sys.argv[1:])
        if options is None:
            print(f"cloudflared version {VERSION} (built as the laboratory's stand-in)")
            return 0
        who = identity(options.token)
        rules = ingress.first(options.configuration.rules, options.url)
    except Usage as error:
        print(f"{error}\nSee 'cloudflared tunnel run --help'.", file=sys.stderr)
        return error.status
    except ingress.BadRules as error:
        print(error, file=sys.stderr)
        return 1
    log = Log(options.loglevel, options.output == "json")
    try:
        asyncio.run(Connector(options, who, rules, log).run())
    except Fatal as error:
        return error.status
    return 0


class Fatal(Exception):
    """The process cannot continue; the reason is already logged."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


def identity(token: str) -> Identity:
    """Take a tunnel token apart. Raises Usage as the vendor's binary does."""
    try:
        # Measured: the vendor's binary takes absent fields for empty ones.
        fields = json.loads(base64.b64decode(token, validate=True))
        return Identity(
            account=str(fields.get("a", "")),
            tunnel=uuid.UUID(fields.get("t", str(uuid.UUID(int=0)))),
            secret=base64.b64decode(fields.get("s", ""), validate=True),
            connector=uuid.uuid4(),
            version=VERSION,
        )
    except (binascii.Error, ValueError, TypeError, AttributeError) as error:
        raise Usage("Provided Tunnel token is not valid.", 255) from error


@dataclass
class Backoff:
    """Vendor behaviour: a random wait below base·2ⁿ, n growing with each failure up to `limit`."""

    base: float
    limit: int
    failures: int = 0

    def longest(self) -> float:
        """Upper bound of the next wait, in seconds."""
        return self.base * float(2 ** min(self.failures + 1, self.limit))

    def wait(self) -> float:
        """Count a failure and return how long to wait, in seconds."""
        longest = self.longest()
        self.failures += 1
        return random.uniform(0, longest)


@dataclass
class Connector:
    """Keeps four connections to the edge until a signal ends it."""

    options: Options
    who: Identity
    rules: ingress.Ingress
    log: Log
    addresses: list[Address] = field(default_factory=list)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one kills the process. Raises Fatal."""
        draining = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop(name: str) -> None:
            self.log.info(f"Initiating graceful shutdown due to signal {name} ...")
            draining.set()
            # Vendor behaviour: one signal is handled, the next has its default effect.
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        loop.add_signal_handler(signal.SIGTERM, stop, "terminated")
        loop.add_signal_handler(signal.SIGINT, stop, "interrupt")
        await self._serve(Status(self.who.connector, VERSION, self.rules), draining)
        self.log.info("Tunnel server stopped")

    async def _serve(self, status: Status, draining: asyncio.Event) -> None:
        self.log.info(f"Starting tunnel tunnelID={self.who.tunnel}")
        self.log.info(f"Version {VERSION} (the laboratory's stand-in for cloudflared)")
        settings = sorted(self.options.set_flags.items())
        self.log.info(f"Settings: map[{' '.join(f'{name}:{value}' for name, value in settings)}]")
        self.log.info(f"Generated Connector ID: {self.who.connector}")
        if self.rules.rules[0].service == ingress.NOWHERE:
            self.log.warn("No ingress rules were defined: every request will be answered with 503")
        try:
            server = await StatusServer(status, self.log).start(self.options.metrics)
        except OSError as error:
            self.log.error("Error opening metrics server listener", error=error)
            raise Fatal(1) from error
        async with server:
            try:
                choice = await self._protocol()
                self.log.info(f"Initial protocol {choice.current}")
                self.addresses = await edge_addresses(
                    self.options.edge, self.options.edge_ip_version
                )
            except LookupFailed as error:
                self.log.error("edge discovery: error looking up Cloudflare edge IPs", error=error)
                raise Fatal(1) from error
            checks = asyncio.create_task(self._prechecks())
            try:
                await self._keep_connected(self._context(status, draining), choice)
            finally:
                checks.cancel()
                await asyncio.gather(checks, return_exceptions=True)

    async def _prechecks(self) -> None:
        if not self.options.no_prechecks:
            await prechecks.run(self.addresses, self.log)

    async def _protocol(self) -> Choice:
        limit = self.options.max_edge_addr_retries
        if self.options.protocol != "auto":
            return Choice(self.options.protocol, falls_back=False, limit=limit)
        try:
            preferred = await preferred_protocol()
        except LookupFailed:
            preferred = HTTP2
        return Choice(preferred, falls_back=preferred == QUIC, limit=limit)

    def _context(self, status: Status, draining: asyncio.Event) -> Context:
        tls = ssl.create_default_context(cafile=self.options.cacert or None)
        return Context(self.who, self.rules, status, self.log, tls, draining)

    async def _keep_connected(self, context: Context, choice: Choice) -> None:
        wanted = self.options.ha_connections
        count = min(wanted, len(self.addresses))
        if count < wanted:
            self.log.info(
                f"You requested {wanted} HA connections but I can give you at most {count}."
            )
        first = asyncio.Event()
        tasks = [asyncio.create_task(self._keep(context, 0, first, choice))]
        waiting = [asyncio.create_task(e.wait()) for e in (first, context.draining)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        for index in range(1, count):
            if not context.draining.is_set():
                own = self._keep(context, index, asyncio.Event(), replace(choice))
                tasks.append(asyncio.create_task(own))
                await asyncio.sleep(_INTERVAL)
        await asyncio.gather(*tasks)

    async def _keep(
        self, context: Context, index: int, connected: asyncio.Event, choice: Choice
    ) -> None:
        # Vendor behaviour: a connection waits a short time of its own, then a longer one that
        # is meant for all that were lost together; the very first one waits only the former.
        place = index
        own = Backoff(_FIRST_RETRY, self.options.retries)
        common = Backoff(_RETRY, self.options.retries)

        def registered() -> None:
            own.failures = common.failures = 0
            choice.falls_back &= choice.current != QUIC
            connected.set()
            _tell_systemd()

        while not context.draining.is_set():
            address = self.addresses[place % len(self.addresses)]
            where = {"connIndex": index, "event": 0, "ip": address.host}
            context.status.attempts += 1
            try:
                connection = EdgeConnection(context, index, address, own.failures, choice.current)
                await connection.run(registered)
                return
            except (Refused, Lost, OSError) as error:
                # A failure of one connection among others is a warning; of the last, an error.
                complain = self.log.warn if context.status.connected else self.log.error
                complain(_complaint(error), error=error, **where)
                reason = error
                if isinstance(error, OSError):
                    place += 1
                self.log.info(f"Retrying connection in up to {own.longest():g}s", **where)
                await _pause(context.draining, own.wait())
                if choice.failed(error):
                    self.log.info(f"Switching to fallback protocol {HTTP2}", **where)
                    own.failures = 0
            finally:
                context.status.attempts -= 1
            if connected.is_set() or index > 0:
                self.log.error("Connection terminated", error=reason, connIndex=index)
                await _pause(context.draining, common.wait())


def _complaint(error: Exception) -> str:
    if isinstance(error, DialError):
        return "Failed to dial a quic connection"
    return _COMPLAINTS.get(type(error), "Unable to establish connection with Cloudflare edge")


def _tell_systemd() -> None:
    """Vendor behaviour: READY=1 with the first registered connection; repeating it is harmless."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.send(b"READY=1")


async def _pause(unless: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        async with timeout(seconds):
            await unless.wait()
