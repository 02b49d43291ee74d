"""The alerts of a host: its own pages of metrics, before the real Prometheus with our rules."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from replicas import CHECKOUT, RUN, shell

from benchmarks.dashboard import prometheus

EXPORTER = CHECKOUT / ".build/prometheus/usr/bin/prometheus-node-exporter"
UNIT = "node-exporter-of-a-test"
PLACE = f"/usr/local/bin/{UNIT}"
PORTS = {"node": 9100, "mcp-proxy": 8081, "mcp-cloudflared": 20241}
PATIENCE = 120.0
"""Seconds until an alert fires; a few, where nothing else is at work."""


def firing(name: str, wanted: Collection[str]) -> set[str]:
    """The alerts that fire for the host NAME as it is now, once all *wanted* ones do.

    Prometheus cannot reach into a laboratory. So it scrapes a copy of each page again and again.
    What has to last for an hour has to last for a second here; nothing else of a rule is changed.
    """
    targets = {}
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-alerts-")))
        for job, page in pages(name).items():
            targets[job] = {name: stack.enter_context(served(page))}
        rules = home / "alerts.yml"
        shipped = (CHECKOUT / "docs/monitoring/alerts.yml").read_text()
        rules.write_text(re.sub(r"(?m)^( +for:) .*$", r"\1 1s", shipped))
        running = stack.enter_context(prometheus.running(home, targets, [rules]))
        begin = time.time() - 60  # a range of no length is refused
        deadline = time.monotonic() + PATIENCE
        while not (found := set(running.firing(begin, time.time()))).issuperset(wanted):
            assert time.monotonic() < deadline, f"{sorted(wanted)} do not fire, but {sorted(found)}"
            time.sleep(1)
        return found


def pages(name: str) -> dict[str, str]:
    """The pages of metrics of a host, by the job that scrapes them."""
    with node_exporter(name):
        return {job: page(name, port) for job, port in PORTS.items()}


def page(name: str, port: int) -> str:
    """Return a page of metrics, as root reads it on loopback."""
    url = f"http://127.0.0.1:{port}/metrics"
    code = f'from urllib.request import urlopen; print(urlopen("{url}").read().decode())'
    return str(shell(name).check_output(f"python3 -c '{code}'"))


@contextlib.contextmanager
def node_exporter(name: str) -> Iterator[None]:
    """Let the real node exporter run on a host, with the collector that our rules name."""
    copy = f"src={EXPORTER} dest={PLACE} mode=0755"
    inventory = str(RUN / "inventory.yml")
    ansible = str(Path(sys.executable).with_name("ansible"))
    subprocess.run(
        [ansible, name, "-i", inventory, "--become", "-m", "copy", "-a", copy],
        cwd=CHECKOUT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    host = shell(name)
    host.check_output(
        f"systemd-run --quiet --collect --unit={UNIT} {PLACE} --web.listen-address=127.0.0.1:9100"
        " --collector.disable-defaults --collector.systemd"
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while host.run(
            "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 9100))'"
        ).rc:
            assert time.monotonic() < deadline, host.check_output(f"journalctl --unit={UNIT}")
            time.sleep(0.2)
        yield
    finally:
        host.check_output(f"systemctl stop {UNIT}; rm {PLACE}")


@contextlib.contextmanager
def served(text: str) -> Iterator[int]:
    """Serve a page on loopback; the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
