from __future__ import annotations

import json
import os
import subprocess
import sys

from exposed import Labels, read
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.watch import exposition
from mcp_proxy.watch.metrics import Metrics
from mcp_proxy.watch.snapshots import unite, without_gauges

ECHO = (("route", "echo"),)


def worker(requests: int, seconds: float = 0.3) -> Metrics:
    """A process that has answered *requests*, and has one more in flight."""
    metrics = Metrics()
    metrics.connection_limit(100)
    metrics.connection_opened()
    for _ in range(requests):
        metrics.request_started("echo")
        metrics.request_finished("echo", 200, seconds, 3, 5)
    metrics.request_started("echo")
    return metrics


def shown(*snapshots: object) -> dict[tuple[str, Labels], float]:
    """The page of all *snapshots* together, after they have travelled as JSON."""
    page = exposition.page(unite(json.loads(json.dumps(snapshots))), {}).decode()
    return {key: value for key, value in read(page).items() if not key[0].startswith("process_")}


def test_counts_of_workers_are_added() -> None:
    found = shown(worker(2).snapshot(), worker(3, 40.0).snapshot())
    assert found["mcp_proxy_requests_total", (*ECHO, ("status", "2xx"))] == 5
    assert found["mcp_proxy_requests_in_flight", ECHO] == 2
    assert found["mcp_proxy_connections_open", ()] == 2
    assert found["mcp_proxy_connections_limit", ()] == 200
    duration = "mcp_proxy_request_duration_seconds"
    assert found[f"{duration}_bucket", (("le", "0.5"), *ECHO)] == 2
    assert found[f"{duration}_bucket", (("le", "120.0"), *ECHO)] == 5
    assert found[f"{duration}_count", ECHO] == 5
    assert found[f"{duration}_sum", ECHO] == 120.6
    assert [value for (name, _), value in found.items() if name == "mcp_proxy_build_info"] == [1]


def test_the_certificate_that_expires_first_counts() -> None:
    supervisor, one, other = Metrics(), Metrics(), Metrics()
    one.certificate_loaded(1_900_000_000)
    other.certificate_loaded(1_800_000_000)
    one.client_certificates({"echo": 1_700_000_000})
    other.client_certificates({"echo": 1_600_000_000})
    found = shown(*(metrics.snapshot() for metrics in (supervisor, one, other)))
    assert found["mcp_proxy_certificate_expiry_timestamp_seconds", ()] == 1_800_000_000
    assert found["mcp_proxy_client_certificate_expiry_timestamp_seconds", ECHO] == 1_600_000_000


def test_a_dead_worker_leaves_its_counters_and_nothing_in_flight() -> None:
    dead = without_gauges(worker(2).snapshot())
    found = shown(dead, worker(1).snapshot())
    assert found["mcp_proxy_requests_total", (*ECHO, ("status", "2xx"))] == 3
    assert found["mcp_proxy_request_duration_seconds_count", ECHO] == 3
    assert found["mcp_proxy_connections_total", ()] == 2
    assert found["mcp_proxy_requests_in_flight", ECHO] == 1
    assert found["mcp_proxy_connections_open", ()] == 1
    assert found["mcp_proxy_connections_limit", ()] == 100


def test_a_family_of_another_release_is_left_out() -> None:
    snapshot = {**worker(1).snapshot(), "mcp_proxy_of_tomorrow": [([], 1)]}
    assert "mcp_proxy_of_tomorrow" not in unite([snapshot])
    assert "mcp_proxy_of_tomorrow" not in without_gauges(snapshot)


@given(st.lists(st.integers(0, 3), max_size=4), st.integers(0, 4))
def test_the_order_and_the_grouping_do_not_matter(counts: list[int], cut: int) -> None:
    snapshots = [worker(count, 0.25).snapshot() for count in counts]
    at_once = shown(*snapshots)
    assert at_once == shown(*reversed(snapshots))
    assert at_once == shown(unite(snapshots[:cut]), unite(snapshots[cut:]))


def test_who_only_counts_does_not_load_the_library_that_shows() -> None:
    code = (
        "import sys, mcp_proxy.watch.metrics, mcp_proxy.watch.snapshots;"
        "import mcp_proxy.watch.process_metrics;"
        "print([name for name in sys.modules if name.startswith('prometheus')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"
