"""Benchmarks of the proxy's data path and of a deployment (see docs/benchmarks.md).

``proxy``, ``firewall`` and ``deploy`` are the benches. They import ``load``, which measures, and
``rivals``, which are measured; ``figures``, ``record`` and ``report`` make numbers, files and
tables.
"""


class BenchError(Exception):
    """A run that went wrong: its figures would mean nothing, so there are none."""
