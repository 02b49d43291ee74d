"""Debian's Prometheus on loopback, with the shipped jobs and rules, and its answers."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks import BenchError
from benchmarks.dashboard.panels import DASHBOARD, Query

_SHIPPED = DASHBOARD.parent
_PROGRAM = DASHBOARD.parents[2] / ".build/prometheus/usr/bin/prometheus"
_SCRAPE_SECONDS = 2
_POINTS = 240
_PATIENCE = 60.0  # seconds, for a program that is started beside others


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _configuration(
    targets: Mapping[str, Mapping[str, int]], rules: Sequence[Path]
) -> dict[str, Any]:
    """The shipped configuration with all replicas; a job that it lacks is added.

    *targets* has instance and port of each job.
    """
    config: dict[str, Any] = yaml.safe_load((_SHIPPED / "prometheus.yml").read_text())
    every = f"{_SCRAPE_SECONDS}s"
    config["global"] = {"scrape_interval": every, "evaluation_interval": every}
    shipped = [_SHIPPED / name for name in config["rule_files"]]
    config["rule_files"] = [str(path) for path in rules or shipped]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    config["scrape_configs"] = [
        {
            **jobs.get(name, {"job_name": name}),
            "static_configs": [
                {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": instance}}
                for instance, port in ports.items()
            ],
        }
        for name, ports in targets.items()
    ]
    return config


class Prometheus:
    """A running one."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"{self._url}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
            return json.load(answer)["data"]

    def wait(self) -> None:
        """Until it answers. Raises BenchError if it does not."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self._url}/-/ready", timeout=5).close()  # noqa: S310
                return
            time.sleep(0.2)
        raise BenchError("Prometheus does not get ready")

    def ask(self, query: Query, begin: float, end: float) -> list[dict[str, Any]]:
        """Series with ``metric`` and ``values``; an instant query's have one value, at *end*."""
        if query.instant:
            found = self._get("/api/v1/query", query=query.expression, time=str(end))["result"]
            return [{"metric": item["metric"], "values": [item["value"]]} for item in found]
        found = self._get(
            "/api/v1/query_range",
            query=query.expression,
            start=str(begin),
            end=str(end),
            step=f"{(end - begin) / _POINTS:.3f}",
        )["result"]
        return list(found)

    def firing(self, begin: float, end: float) -> dict[str, float]:
        """Alert to the seconds after *begin* when it first fired."""
        query = Query('ALERTS{alertstate="firing"}', "", False)
        series = self.ask(query, begin, end)
        first: dict[str, float] = {}
        for item in series:
            name, when = item["metric"]["alertname"], item["values"][0][0] - begin
            first[name] = min(when, first.get(name, when))
        return first


@contextlib.contextmanager
def running(
    home: Path, targets: Mapping[str, Mapping[str, int]], rules: Sequence[Path] = ()
) -> Iterator[Prometheus]:
    """Run Prometheus below *home*, with other *rules* than the shipped ones if there are any.

    Raises BenchError if it does not get ready.
    """
    path = home / "prometheus.yml"
    path.write_text(yaml.safe_dump(_configuration(targets, rules)))
    port = free_port()
    with (home / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            [
                _PROGRAM,
                f"--config.file={path}",
                f"--storage.tsdb.path={home / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    prometheus = Prometheus(port)
    try:
        prometheus.wait()
        yield prometheus
    finally:
        process.terminate()
        process.wait()
