"""Records the dashboard's panels from two replicas of a laboratory: see the package."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import BenchError
from benchmarks.dashboard import panels, prometheus, traffic
from lab.core.paths import LabPaths
from lab.supervision import facts

_JOBS = {"mcp-proxy": 8081, "mcp-cloudflared": 20241}
_WARM_UP_SECONDS = 90  # of scrapes before the picture begins: rates need some
_LOGIN = "ops"
_CA = "/var/lib/mcp-tunnel/default/ca.crt"


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BenchError(f"{' '.join(map(str, command))}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


@contextlib.contextmanager
def _laboratory(name: str) -> Iterator[LabPaths]:
    """Two replicas whose metrics the login of ssh may ask for; a lab that is up is left up."""
    paths = LabPaths(name)
    was_up = paths.facts.exists()
    if not was_up:
        _run(sys.executable, "-m", "lab", "up", name, "--hosts", "2", "--debian", "12,13")
    try:
        admin = json.dumps({"firewall_admin_users": [_LOGIN]})
        _run("ansible-playbook", "-i", paths.inventory(), "playbooks/site.yml", "-e", admin)
        yield paths
    finally:
        if not was_up:
            _run(sys.executable, "-m", "lab", "down", name)


@contextlib.contextmanager
def _forwarded(paths: LabPaths, hosts: list[str]) -> Iterator[dict[str, dict[str, int]]]:
    """Ports of ours that lead to the hosts' metrics, by job and host, through ssh."""
    targets: dict[str, dict[str, int]] = {job: {} for job in _JOBS}
    with contextlib.ExitStack() as stack:
        for host in hosts:
            options = []
            for job, port in _JOBS.items():
                targets[job][host] = prometheus.free_port()
                options += ["-L", f"127.0.0.1:{targets[job][host]}:127.0.0.1:{port}"]
            alone = ["-o", "ControlMaster=no", "-o", "ControlPath=none"]
            command = ["ssh", "-F", str(paths.ssh_config), *alone, "-N", *options, host]
            process = subprocess.Popen(command)  # noqa: S603
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield targets


def _record(name: str, seconds: float) -> dict[str, Any]:
    """The answers to every panel's queries about a lab's *seconds* of traffic and trouble."""
    with contextlib.ExitStack() as stack:
        paths = stack.enter_context(_laboratory(name))
        lab = facts.read(paths)
        hosts = [host["name"] for host in lab["hosts"]]
        ca = _run("ssh", "-F", paths.ssh_config, hosts[0], "sudo", "cat", _CA)
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        targets = stack.enter_context(_forwarded(paths, hosts))
        server = stack.enter_context(prometheus.running(home, targets))
        with traffic.clients(lab["edge_front"], ca, lab["domain"]):
            time.sleep(_WARM_UP_SECONDS)
            begin = time.time()
            traffic.Trouble(name, paths.ssh_config, hosts).go_through(seconds)
            end = time.time()
        for alert, when in sorted(server.firing(begin, end).items(), key=lambda item: item[1]):
            print(f"fired after {when:4.0f} s: {alert}", file=sys.stderr)
        answers = [
            [server.ask(query, begin, end) for query in panel.queries] for panel in panels.panels()
        ]
        return {"begin": begin, "end": end, "answers": answers}


def main() -> None:
    """Write the recording; the exit status is 1 and says why if there is none."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=__doc__)
    parser.add_argument("file", type=Path, help="where the recording goes, JSON")
    parser.add_argument("--lab", default="picture", help="its name; one that is up is used")
    parser.add_argument("--seconds", type=float, default=600.0, help="that the picture shows")
    arguments = parser.parse_args()
    try:
        recording = _record(arguments.lab, arguments.seconds)
    except BenchError as error:
        sys.exit(f"dashboard: {error}")
    arguments.file.write_text(json.dumps(recording))


if __name__ == "__main__":
    main()
