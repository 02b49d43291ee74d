"""Command line: ``python -m benchmarks [proxy|deploy|all]`` (what ``make bench`` runs)."""

from __future__ import annotations

import argparse
import sys

from benchmarks import BenchError, deploy, proxy, record, report
from benchmarks.figures import Comparison

#: Columns that mean the same on every machine, and by which part they may grow.
_COMPARED = {"ratio": record.TOLERANCE, "tasks_per_host": 0.0, "modules_per_host": 0.0}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("proxy", "deploy", "all"), default="all")
    parser.add_argument("--rounds", type=int, default=7, help="rounds per row of the proxy's table")
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


def _proxy(rounds: int, scale: float) -> dict[str, object]:
    print(f"Proxy against haproxy behind a WebSocket unwrapper, medians of {rounds} rounds\n")
    print(report.proxy_head(), flush=True)

    def done(row: proxy.Row, comparison: Comparison) -> None:
        print(report.proxy_row(row.title, comparison), flush=True)

    return {key: row.as_json() for key, row in proxy.run(rounds, scale, done).items()}


def _deploy() -> dict[str, object]:
    print("\nDeployment (counts: those of the host with the most)\n")
    print(report.deploy_head(), flush=True)

    def done(run: deploy.Run) -> None:
        print(report.deploy_row(run.title, run.seconds, run.census), flush=True)

    return {run.key: run.as_json() for run in deploy.run(done)}


def main() -> int:
    """Runs, prints, stores; exit status 1 when something did not work."""
    arguments = _arguments()
    results: record.Results = {}
    try:
        if arguments.what in ("proxy", "all"):
            rows = _proxy(arguments.rounds, arguments.scale)
            results["proxy"] = {"machine": record.machine(), "rows": rows}
        if arguments.what in ("deploy", "all"):
            results["deploy"] = {"machine": record.machine(), "rows": _deploy()}
        worse = record.slower(results, record.load(record.RECORDED), _COMPARED)
        record.store(record.LATEST, results)
        if arguments.record:
            record.store(record.RECORDED, results)
    except BenchError as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 1
    print("\nSlower than recorded:" if worse else "\nNothing is slower than recorded.")
    print("\n".join(f"  {line}" for line in worse))
    return 0


if __name__ == "__main__":
    sys.exit(main())
