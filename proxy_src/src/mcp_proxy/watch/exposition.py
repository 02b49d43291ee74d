"""The page that Prometheus scrapes: counts and measurements in the text exposition format 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from .metrics import Snapshot
from .process_metrics import MEANINGS, measure
from .series import COUNTER, DURATIONS, FAMILIES, HISTOGRAM

_BOUNDS = [*map(str, DURATIONS), "+Inf"]


def page(
    snapshot: Snapshot,
    workers: Mapping[str, Mapping[str, float]],
    others: Iterable[Collector] = (),
) -> bytes:
    """Show *snapshot*, this process, what each of the *workers* costs, and *others*.

    *workers* has what :func:`process_metrics.measure` gave in each of them, by its number.
    """
    registry = CollectorRegistry()
    for collector in (_Counts(snapshot), _Processes(workers), *others):
        registry.register(collector)
    return generate_latest(registry)


class _Counts(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES.values():
            metric: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
            samples = self._snapshot.get(family.name, [])
            if family.kind == HISTOGRAM:
                metric = HistogramMetricFamily(
                    family.name, family.documentation, labels=family.labels
                )
                for labels, figures in samples:
                    *counts, total = figures
                    metric.add_metric(labels, list(zip(_BOUNDS, accumulate(counts))), total)
            else:
                kind = CounterMetricFamily if family.kind == COUNTER else GaugeMetricFamily
                metric = kind(family.name, family.documentation, labels=family.labels)
                for labels, value in samples:
                    metric.add_metric(labels, value)
            yield metric


class _Processes(Collector):
    """``process_*`` is the process that answers; the others have names of the proxy's own."""

    def __init__(self, workers: Mapping[str, Mapping[str, float]]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        own = measure()
        for name, meaning in MEANINGS.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            if name in own:
                yield kind(f"process_{name}", meaning, value=own[name])
            metric = kind(f"mcp_proxy_worker_{name}", f"Of a worker: {meaning}", labels=["worker"])
            for worker, figures in self._workers.items():
                if name in figures:
                    metric.add_metric([worker], figures[name])
            yield metric
