"""Reports of `/ready`, `/metrics` and `/config` on the metrics address.

Vendor behaviour: `cloudflared_tunnel_ha_connections` counts attempts, and `server_locations` keeps
past locations. When the edge is gone, only `/ready` shows it.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass, field

from async_timeout import timeout

from .ingress import Ingress
from .log import Log

_REQUEST_TIMEOUT = 30.0


@dataclass
class Status:
    """Counters of this process.

    Attributes:
        connected: indexes of the registered connections; `/ready` counts these and nothing else.
        attempts: connections that are up, being dialled, or waiting to be dialled again.
        locations: where each connection was last registered; kept when it is lost.
    """

    connector: uuid.UUID
    version: str
    ingress: Ingress
    connected: set[int] = field(default_factory=set)
    attempts: int = 0
    locations: dict[int, str] = field(default_factory=dict)
    registered: int = 0
    refused: int = 0
    requests: int = 0
    concurrent: int = 0
    errors: int = 0

    def ready(self) -> tuple[int, bytes]:
        """Return HTTP status and body of `/ready`."""
        status = 200 if self.connected else 503
        body = {
            "status": status,
            "readyConnections": len(self.connected),
            "connectorId": str(self.connector),
        }
        return status, json.dumps(body, separators=(",", ":")).encode()

    def metrics(self) -> bytes:
        """Return the Prometheus text of `/metrics`."""
        lines = [
            *_metric("build_info", "gauge", 1, f'goversion="none",version="{self.version}"'),
            *_metric("cloudflared_tunnel_ha_connections", "gauge", self.attempts),
            *_metric("cloudflared_orchestration_config_version", "gauge", self.ingress.version),
            *_metric("cloudflared_tunnel_total_requests", "counter", self.requests),
            *_metric("cloudflared_tunnel_request_errors", "counter", self.errors),
            *_metric("cloudflared_tunnel_concurrent_requests_per_tunnel", "gauge", self.concurrent),
            *_metric(
                "cloudflared_tunnel_tunnel_register_success",
                "counter",
                self.registered,
                'rpcName="registerConnection"',
            ),
            *_metric(
                "cloudflared_tunnel_tunnel_register_fail",
                "counter",
                self.refused,
                'error="server_error",rpcName="registerConnection"',
            ),
            "# TYPE cloudflared_tunnel_server_locations gauge",
            *(
                f'cloudflared_tunnel_server_locations{{connection_id="{index}",'
                f'edge_location="{location}"}} 1'
                for index, location in sorted(self.locations.items())
            ),
        ]
        return ("\n".join(lines) + "\n").encode()


def _metric(name: str, kind: str, value: int, labels: str = "") -> list[str]:
    return [f"# TYPE {name} {kind}", f"{name}{{{labels}}} {value}" if labels else f"{name} {value}"]


class StatusServer:
    """The HTTP listener of the metrics address."""

    def __init__(self, status: Status, log: Log) -> None:
        self._status = status
        self._log = log

    async def start(self, address: str) -> asyncio.Server:
        """Listen on `address` (host:port). Raises OSError."""
        host, _, port = address.rpartition(":")
        server = await asyncio.start_server(self._serve, host.strip("[]") or None, int(port))
        bound = server.sockets[0].getsockname()
        self._log.info(f"Starting metrics server on {bound[0]}:{bound[1]}/metrics")
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with timeout(_REQUEST_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = self._answer(head.split(b" ", 2)[1].partition(b"?")[0])
                writer.write(
                    f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (OSError, asyncio.TimeoutError, IndexError, asyncio.IncompleteReadError):
            pass
        except asyncio.LimitOverrunError:
            pass
        finally:
            writer.close()

    def _answer(self, path: bytes) -> tuple[int, str, bytes]:
        if path == b"/ready":
            status, body = self._status.ready()
            return status, "text/plain; charset=utf-8", body
        if path == b"/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", self._status.metrics()
        if path == b"/config":
            return 200, "text/plain; charset=utf-8", self._status.ingress.shown()
        if path == b"/healthcheck":
            return 200, "text/plain; charset=utf-8", b"OK\n"
        return 404, "text/plain; charset=utf-8", b"404 page not found\n"
