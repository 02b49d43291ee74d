"""Benchmarks of the proxy's data path and of a deployment (see docs/benchmarks.md)."""


class BenchError(Exception):
    """A run that went wrong: its figures would mean nothing, so there are none."""
