"""Command line: ``python -m benchmarks [SECTION]`` (what ``make bench`` runs)."""

from __future__ import annotations

import argparse
import sys

from benchmarks import BenchError, deploy, firewall, proxy, record, report
from benchmarks.figures import Comparison
from benchmarks.fleet import runs as fleet

#: Columns that mean the same on every machine, and by which part they may grow.
_COMPARED = {
    "ratio": record.TOLERANCE,
    "tasks_per_host": 0.0,
    "modules_per_host": 0.0,
    "modules_on_busiest": 0.0,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=(*_SECTIONS, "all"), default="all")
    parser.add_argument("--rounds", type=int, default=7, help="rounds per row of the comparisons")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor on the work of each round (0.1: a try)"
    )
    parser.add_argument(
        "--record", action="store_true", help="keep the figures in benchmarks/recorded.json"
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.scale <= 0:
        parser.error("--rounds and --scale must be positive")
    if arguments.record and (arguments.rounds < 5 or arguments.scale < 1):
        parser.error("--record needs at least 5 rounds of full work")
    return arguments


def _proxy(arguments: argparse.Namespace) -> record.Results:
    rounds = arguments.rounds
    print(f"Proxy beside haproxy behind a WebSocket unwrapper, and beside Go: {rounds} rounds\n")
    print(report.comparison_head("proxy", "rival"), flush=True)

    def done(_key: str, title: str, comparison: Comparison) -> None:
        print(report.comparison_row(title, comparison), flush=True)

    rows = proxy.run(rounds, arguments.scale, done)
    return {"rounds": rounds, "rows": {key: row.as_json() for key, row in rows.items()}}


def _deploy(_: argparse.Namespace) -> record.Results:
    print("Deployment\n")
    print(report.deploy_head(), flush=True)

    def done(run: deploy.Run) -> None:
        print(report.deploy_row(run.title, run.seconds, run.census), flush=True)

    return {"rows": {run.key: run.as_json() for run in deploy.run(done)}}


def _firewall(arguments: argparse.Namespace) -> record.Results:
    rounds = arguments.rounds
    print(f"A replica with and without its firewall's rules, medians of {rounds} rounds\n")
    print(report.comparison_head("with", "without"), flush=True)

    def done(title: str, comparison: Comparison) -> None:
        print(report.comparison_row(title, comparison), flush=True)

    rows = firewall.run(rounds, arguments.scale, done)
    return {"rounds": rounds, "rows": {key: row.as_json() for key, row in rows.items()}}


def _fleet(arguments: argparse.Namespace) -> record.Results:
    print("A run with nothing to do, the hosts simulated\n")
    print(report.fleet_head(), flush=True)

    def done(run: fleet.Run) -> None:
        print(report.fleet_row(run), flush=True)

    smallest, *others = fleet.run(arguments.scale, done)
    return {"rows": {run.key: run.as_json(smallest) for run in (smallest, *others)}}


_SECTIONS = {"proxy": _proxy, "deploy": _deploy, "firewall": _firewall, "fleet": _fleet}


def main() -> int:
    """Runs, prints, stores; exit status 1 when something did not work."""
    arguments = _arguments()
    status = 0
    for name, run in _SECTIONS.items():
        if arguments.what not in (name, "all"):
            continue
        try:
            results = {name: {"machine": record.machine(), **run(arguments)}}
            recorded = record.load(record.RECORDED)
            print(
                "\n" + report.verdict(name in recorded, record.slower(results, recorded, _COMPARED))
            )
            record.store(record.LATEST, results)
            if arguments.record:
                record.store(record.RECORDED, results)
        except BenchError as error:
            print(f"\nbenchmark {name} failed: {error}", file=sys.stderr)
            status = 1
        print(flush=True)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
