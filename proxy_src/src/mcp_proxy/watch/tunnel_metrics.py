"""How many connections to the tunnel edge cloudflared has, out of a file that root refreshes.

cloudflared's own metrics do not tell: ``cloudflared_tunnel_ha_connections`` counts attempts, and
stays when the edge is gone. Its ``/ready`` tells, on a port where the proxy has no business.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from . import log
from .host_file import HostFile

_MOST = 1000  # cloudflared has four


class TunnelConnections(Collector):
    """The number of connections, and the age of what is known about it.

    An unusable file gives no number and an infinite age.
    """

    def __init__(self, path: str) -> None:
        self._file = HostFile(path, _parse, _tell)

    def collect(self) -> Iterator[Metric]:
        """See :class:`prometheus_client.registry.Collector`."""
        number, age = self._file.read()
        family = GaugeMetricFamily(
            "mcp_tunnel_ready_connections",
            "Connections to the tunnel edge that are registered, as cloudflared's /ready has it.",
        )
        if number is not None:
            family.add_metric((), number)
        yield family
        yield GaugeMetricFamily(
            "mcp_tunnel_ready_connections_age_seconds",
            "How long ago cloudflared was asked; +Inf while nobody knows.",
            value=age,
        )


def _tell(path: str, problem: str) -> None:
    if problem:
        log.event(
            log.logger,
            log.WARN,
            "tunnel connections not available",
            file=path,
            problem=problem,
            remedy="see `systemctl status mcp-tunnel-connections.service`",
        )
    else:
        log.event(log.logger, log.INFO, "tunnel connections available", file=path)


def _parse(content: bytes) -> int:
    """The number in the file; raises :class:`ValueError` if it is anything else."""
    try:
        number = json.loads(content)["readyConnections"]
    except (ValueError, KeyError, TypeError, RecursionError):
        number = None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MOST:
        raise ValueError('not {"readyConnections": NUMBER}')
    return number
