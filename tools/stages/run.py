"""Runs stages beside each other, each with a log of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import reports
from .stage import Result, Stage

#: Seconds that a stage has to end after the signal: it takes its laboratory down.
GRACE = 120


class Run:
    """One run of several stages.

    The first stages of the sequence begin first, as many at a time as there are workers. A stage
    that comes after others begins when they have ended well; if one of them has not, the stage
    fails without a run. Every other stage runs, even if others fail.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        root: Path,
        logs: Path,
        workers: int,
        told: Callable[[Result | Stage], None],
    ) -> None:
        """``told`` is called with each stage that begins, and with each result, one at a time."""
        self._waiting = list(stages)
        self._root = root
        self._logs = logs
        self._workers = workers
        self._told = told
        self._results: dict[str, Result] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._changed = threading.Condition()
        self._stopped = False

    def all(self) -> dict[str, Result]:
        """Run them; return the results by name. An interrupt ends what runs, and is raised."""
        self._logs.mkdir(parents=True, exist_ok=True)
        workers = [threading.Thread(target=self._work) for _ in range(self._workers)]
        try:
            # Also here: a stage may have begun before its worker is known to have started.
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        except BaseException:
            self._stop()
            for worker in workers:
                if worker.ident is not None:
                    worker.join()
            raise
        return self._results

    def _work(self) -> None:
        while stage := self._next():
            log = self._logs / f"{stage.slug}.log"
            try:
                result = self._executed(stage, log)
            except Exception as error:  # else the whole run would wait for this stage for ever
                result = Result(stage, log, problem=f"could not be run: {error!r}")
            self._ended(result)

    def _next(self) -> Stage | None:
        """Wait for a stage that may begin; None when there is no more work for this worker."""
        with self._changed:
            while self._waiting and not self._stopped:
                for stage in self._waiting:
                    if self._results.keys() >= set(stage.after):
                        self._waiting.remove(stage)
                        self._told(stage)
                        return stage
                self._changed.wait()
            return None

    def _ended(self, result: Result) -> None:
        with self._changed:
            self._results[result.stage.name] = result
            self._told(result)
            self._changed.notify_all()

    def _executed(self, stage: Stage, log: Path) -> Result:
        result = Result(stage, log)
        missing = [name for name in stage.after if not self._results[name].good]
        if missing:
            log.write_text("")
            result.problem = f"did not run, for want of: {', '.join(missing)}"
            return result
        for path in self._reports(stage):
            path.unlink()
        began = time.monotonic()
        status, hung, result.processor = self._child(stage, log)
        result.seconds = time.monotonic() - began
        self._judge(result, status, hung)
        return result

    def _reports(self, stage: Stage) -> list[Path]:
        return [path for pattern in stage.reports for path in self._root.glob(pattern)]

    def _child(self, stage: Stage, log: Path) -> tuple[int, bool, float]:
        """Run the command; return its exit status, whether it hung, and its processor time."""
        with log.open("wb") as output:
            child = subprocess.Popen(
                stage.command,
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with self._changed:
            self._running[stage.name] = child
            stopped = self._stopped
        if stopped:
            _end(child)
        hung = threading.Event()

        def overdue() -> None:
            hung.set()
            _end(child)

        timer = threading.Timer(stage.limit, overdue)
        timer.start()
        _pid, status, usage = os.wait4(child.pid, 0)
        with self._changed:
            child.returncode = os.waitstatus_to_exitcode(status)
            del self._running[stage.name]
        timer.cancel()
        return child.returncode, hung.is_set(), usage.ru_utime + usage.ru_stime

    def _judge(self, result: Result, status: int, hung: bool) -> None:
        stage = result.stage
        broken = ""
        try:
            result.tests = reports.read(self._reports(stage))
        except ValueError as error:
            broken = str(error)
        if hung:
            result.problem = f"ended after {stage.limit:.0f} s: it hung"
        elif status < 0:
            result.problem = f"killed by {signal.Signals(-status).name}"
        elif status and (reason := reports.stopped(result.log)):
            result.problem = f"stopped: {reason}"
        elif broken:
            result.problem = broken
        elif stage.reports and not result.tests.executed:
            result.problem = f"executed no test (exit status {status})"
        elif status and not result.tests.failures:
            result.problem = f"exit status {status}"

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            running = list(self._running.values())
            self._changed.notify_all()
        for child in running:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Let a stage end its own processes; kill it if it takes too long."""
    _signal(child, signal.SIGTERM)
    killer = threading.Timer(GRACE, _signal, (child, signal.SIGKILL))
    killer.daemon = True
    killer.start()


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if child.returncode is None:
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return
