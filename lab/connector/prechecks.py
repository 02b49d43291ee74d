"""Connectivity pre-checks at start: they log and send packets, and they decide nothing.

Vendor behaviour: unless `--no-prechecks` is given, each start probes the edge over UDP and TCP and
api.cloudflare.com:443, each up to three times, beside the start of the tunnel itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from async_timeout import timeout

from . import quic
from .discovery import Address
from .log import Log

_MANAGEMENT = ("api.cloudflare.com", 443)
_TRIES = 3
_PAUSE = 1.0
_TIMEOUT = 10.0


async def run(addresses: Sequence[Address], log: Log) -> None:
    """Probe and log. Returns within ten seconds or so, and raises nothing."""
    probes: dict[str, Callable[[], Awaitable[None]]] = {}
    for address in addresses[:2]:
        probes[f"UDP Connectivity {address.host}"] = lambda address=address: _udp(address)  # type: ignore[misc]
        probes[f"TCP Connectivity {address.host}"] = lambda address=address: _tcp(  # type: ignore[misc]
            address.host, address.port
        )
    probes["Cloudflare API api.cloudflare.com:443"] = lambda: _tcp(*_MANAGEMENT)
    log.info("-------- CONNECTIVITY PRE-CHECKS --------")
    results = await asyncio.gather(*(_probe(probe) for probe in probes.values()))
    for name, passed in zip(probes, results):
        log.info(f"{name}  {'PASS' if passed else 'FAIL'}")
    log.info("precheck complete", component="prechecks")


async def _probe(probe: Callable[[], Awaitable[None]]) -> bool:
    with contextlib.suppress(asyncio.TimeoutError):
        async with timeout(_TIMEOUT):
            for attempt in range(_TRIES):
                with contextlib.suppress(OSError):
                    await probe()
                    return True
                await asyncio.sleep(_PAUSE * (attempt + 1))
    return False


async def _udp(address: Address) -> None:
    (await quic.dial(address)).close()


async def _tcp(host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
