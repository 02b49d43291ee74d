"""The counters of the host's firewall, out of a file that root refreshes.

Reading them from the kernel needs privileges that the proxy does not have. The file is what
``nft --json list counters table inet mcp_tunnel`` prints (libnftables-json(5)); a counter is named
``WHO/RULE`` or ``WHO/RULE/INSTANCE``.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from . import log

_MAX_BYTES = 256 * 1024
_LABELS = ("who", "rule", "mcp_tunnel_instance")  # not "instance": Prometheus' own label
_WORD = r"[A-Za-z0-9_.-]{1,64}"
_NAME = re.compile(rf"({_WORD})/({_WORD})(?:/({_WORD}))?\Z")
_MAX_COUNT = 1 << 64

_Counts = Mapping[tuple[str, str, str], tuple[int, int]]
"""(who, rule, instance or ``""``) to (packets, bytes)."""


class FirewallCounters(Collector):
    """Packets and bytes per rule, and the age of what is known about them.

    An unusable file gives no counters and an infinite age, and one line in the log for each
    distinct reason, however often it is scraped.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._problem = ""

    def collect(self) -> Iterator[Metric]:
        """See :class:`prometheus_client.registry.Collector`."""
        counts: _Counts = {}
        age = math.inf
        problem = ""
        try:
            content, written = _read(self._path)
            counts = _parse(content)
            age = max(0.0, time.time() - written)
        except OSError as error:
            problem = f"cannot read it: {error.strerror or error}"
        except ValueError as error:
            problem = str(error)
        self._tell(problem)
        for position, unit in enumerate(("packets", "bytes")):
            family = CounterMetricFamily(
                f"mcp_tunnel_firewall_{unit}",
                f"{unit.capitalize()} that a rule of table inet mcp_tunnel has matched.",
                labels=_LABELS,
            )
            for labels, values in counts.items():
                family.add_metric(labels, values[position])
            yield family
        yield GaugeMetricFamily(
            "mcp_tunnel_firewall_counters_age_seconds",
            "How old the firewall's counters are; +Inf while there are none.",
            value=age,
        )

    def _tell(self, problem: str) -> None:
        if problem == self._problem:
            return
        self._problem = problem
        if problem:
            log.event(
                log.logger,
                log.WARN,
                "firewall counters not available",
                file=self._path,
                problem=problem,
                remedy="see `systemctl status mcp-tunnel-firewall-counters.service`",
            )
        else:
            log.event(log.logger, log.INFO, "firewall counters available", file=self._path)


def _read(path: str) -> tuple[bytes, float]:
    """Content and modification time; raises :class:`OSError`, or :class:`ValueError` if unfit."""
    with open(path, "rb", opener=_open) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"larger than {_MAX_BYTES // 1024} KiB")
    return content, status.st_mtime


def _open(path: str, flags: int) -> int:
    # Otherwise opening a pipe would wait for a writer, and the whole proxy with it.
    return os.open(path, flags | os.O_NONBLOCK)


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
    # Whatever else somebody counts in the table has no place among the stack's rules.
    match = _NAME.match(name)
    return (match[1], match[2], match[3] or "") if match else None


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_COUNT:
        raise ValueError(value)
    return value
