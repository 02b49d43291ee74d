"""How many connections to the tunnel edge cloudflared has, out of a file that root refreshes.

cloudflared's own metrics do not tell: ``cloudflared_tunnel_ha_connections`` counts attempts, and
stays when the edge is gone. Its ``/ready`` tells, on a port where the proxy has no business. The
same file says whether the replica is drained, and has no connections on purpose.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from . import log
from .host_file import HostFile

_MOST = 1000  # cloudflared has four


class _Note(NamedTuple):
    """What is in the file; ``drained`` is ``None`` if it does not say that, as an older one."""

    connections: int
    drained: bool | None


class TunnelConnections(Collector):
    """The number of connections, whether there are none on purpose, and the age of both.

    An unusable file gives neither and an infinite age.
    """

    def __init__(self, path: str) -> None:
        self._file = HostFile(path, _parse, _tell)

    def collect(self) -> Iterator[Metric]:
        """See :class:`prometheus_client.registry.Collector`."""
        note, age = self._file.read()
        family = GaugeMetricFamily(
            "mcp_tunnel_ready_connections",
            "Connections to the tunnel edge that are registered, as cloudflared's /ready has it.",
        )
        drained = GaugeMetricFamily(
            "mcp_tunnel_drained", "Whether the replica is drained: away from the edge on purpose."
        )
        if note is not None:
            family.add_metric((), note.connections)
            if note.drained is not None:
                drained.add_metric((), note.drained)
        yield family
        yield drained
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


def _parse(content: bytes) -> _Note:
    """The note in the file; raises :class:`ValueError` if it is anything else."""
    try:
        found = json.loads(content)
        number, drained = found["readyConnections"], found.get("drained")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        number = drained = None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MOST:
        raise ValueError('not {"readyConnections": NUMBER}')
    if not isinstance(drained, (bool, type(None))):
        raise ValueError('"drained" is neither true nor false')
    return _Note(number, drained)
