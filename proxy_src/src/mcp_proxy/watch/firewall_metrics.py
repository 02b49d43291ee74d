"""The counters of the host's firewall, out of a file that root refreshes.

Reading them from the kernel needs privileges that the proxy does not have. The file is what
``nft --json list counters table inet mcp_tunnel`` prints (libnftables-json(5)); a counter is named
``WHO/RULE`` or ``WHO/RULE/INSTANCE``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from . import log
from .host_file import HostFile

_LABELS = ("who", "rule", "mcp_tunnel_instance")  # not "instance": Prometheus' own label
_WORD = r"[A-Za-z0-9_.-]{1,64}"
_NAME = re.compile(rf"({_WORD})/({_WORD})(?:/({_WORD}))?\Z")
_MAX_COUNT = 1 << 64

_Counts = Mapping[tuple[str, str, str], tuple[int, int]]
"""(who, rule, instance or ``""``) to (packets, bytes)."""


class FirewallCounters(Collector):
    """Packets and bytes per rule, and the age of what is known about them.

    An unusable file gives no counters and an infinite age.
    """

    def __init__(self, path: str) -> None:
        self._file = HostFile(path, _parse, _tell)

    def collect(self) -> Iterator[Metric]:
        """See :class:`prometheus_client.registry.Collector`."""
        counts, age = self._file.read()
        for position, unit in enumerate(("packets", "bytes")):
            family = CounterMetricFamily(
                f"mcp_tunnel_firewall_{unit}",
                f"{unit.capitalize()} that a rule of table inet mcp_tunnel has matched.",
                labels=_LABELS,
            )
            for labels, values in (counts or {}).items():
                family.add_metric(labels, values[position])
            yield family
        yield GaugeMetricFamily(
            "mcp_tunnel_firewall_counters_age_seconds",
            "How old the firewall's counters are; +Inf while there are none.",
            value=age,
        )


def _tell(path: str, problem: str) -> None:
    if problem:
        log.event(
            log.logger,
            log.WARN,
            "firewall counters not available",
            file=path,
            problem=problem,
            remedy="see `systemctl status mcp-tunnel-firewall-counters.service`",
        )
    else:
        log.event(log.logger, log.INFO, "firewall counters available", file=path)


def _parse(content: bytes) -> _Counts:
    """The counters in nft's JSON; raises :class:`ValueError` if it is anything else."""
    try:
        items = json.loads(content)["nftables"]
        counters = [item["counter"] for item in items if "counter" in item]
        return {
            labels: (_count(counter["packets"]), _count(counter["bytes"]))
            for counter in counters
            if (labels := _labels(counter["name"]))
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("not what `nft --json list counters` prints") from None


def _labels(name: str) -> tuple[str, str, str] | None:
    # Other counters in the table have no place among the stack's rules.
    match = _NAME.match(name)
    return (match[1], match[2], match[3] or "") if match else None


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_COUNT:
        raise ValueError(value)
    return value
