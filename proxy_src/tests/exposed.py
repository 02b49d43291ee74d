"""The samples that a scraper reads on the proxy's page of metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mcp_proxy.watch import exposition
from mcp_proxy.watch.metrics import Metrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

Labels = tuple[tuple[str, str], ...]


def read(page: str) -> dict[tuple[str, Labels], float]:
    """(name, sorted labels) to value; a page that has one twice is refused, as by a scraper."""
    found = [
        ((sample.name, tuple(sorted(sample.labels.items()))), sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def samples(
    metrics: Metrics,
    workers: Mapping[str, Mapping[str, float]] | None = None,
    others: Iterable[Collector] = (),
) -> dict[tuple[str, Labels], float]:
    """The page of one process with these *metrics*."""
    return read(exposition.page(metrics.snapshot(), workers or {}, others).decode())
