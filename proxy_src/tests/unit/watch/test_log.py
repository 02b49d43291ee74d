from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.watch import log, log_lines
from mcp_proxy.watch.log_forms import JsonForm
from mcp_proxy.watch.log_lines import Frequent, LogLines


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, log.logger.level, logging.raiseExceptions
    yield
    root.handlers[:], level, own, logging.raiseExceptions = before
    root.setLevel(level)
    logging.captureWarnings(False)
    log.logger.setLevel(own)


def written(as_json: bool, level: str, act: Callable[[], None]) -> list[str]:
    stream = io.StringIO()
    log.configure(level, stream, as_json)
    act()
    return stream.getvalue().splitlines()


def test_text_reads_like_a_sentence() -> None:
    (line,) = written(
        False,
        "info",
        lambda: log.event(
            log.logger,
            log.INFO,
            "request",
            route="echo",
            path="/a b",
            status=200,
            none=None,
            ok=True,
        ),
    )
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(stamp + r' INFO  request route=echo path="/a b" status=200 ok=true', line)


def test_json_is_one_object_per_line() -> None:
    (line,) = written(
        True,
        "info",
        lambda: log.event(log.logger, log.WARN, "request", bytes=3, time=1, seconds=0.25),
    )
    entry = json.loads(line)
    assert list(entry) == ["time", "level", "msg", "bytes", "seconds"]
    assert (entry["level"], entry["msg"], entry["bytes"], entry["seconds"]) == (
        "warn",
        "request",
        3,
        0.25,
    )
    assert entry["time"].endswith("Z")


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warn", 2), ("error", 1)])
def test_levels(level: str, count: int) -> None:
    def act() -> None:
        for number in (log.DEBUG, log.INFO, log.WARN, log.ERROR):
            log.event(log.logger, number, "x")

    assert len(written(False, level, act)) == count


def test_libraries_stay_quiet_below_warning() -> None:
    def act() -> None:
        logging.getLogger("h2").info("a header")
        logging.getLogger("h2").warning("trouble")

    (line,) = written(True, "debug", act)
    assert json.loads(line)["logger"] == "h2"


@pytest.mark.parametrize("as_json", [True, False])
def test_an_exception_stays_on_one_line(as_json: bool) -> None:
    def act() -> None:
        try:
            raise ValueError("bad\nvalue")
        except ValueError:
            log.logger.exception("failed\nbadly")

    (line,) = written(as_json, "info", act)
    assert "ValueError" in line


values = st.one_of(
    st.text(),
    st.binary(),
    st.floats(),
    st.integers(),
    st.text('\n\r\x1b\u2028\x00\ud800"\\= ', max_size=9),
)


@given(values, st.booleans())
def test_no_value_breaks_out_of_its_line(value: object, as_json: bool) -> None:
    def act() -> None:
        log.event(log.logger, log.INFO, "request", value=value)
        log.logger.error(str(value))

    lines = written(as_json, "info", act)
    assert len(lines) == 2
    assert all(" " <= character <= "~" for line in lines for character in line)
    if as_json:
        assert [json.loads(line)["level"] for line in lines] == ["info", "error"]


def test_long_values_are_cut() -> None:
    (line,) = written(
        True, "info", lambda: log.event(log.logger, log.INFO, "x", value="a" * 100_000)
    )
    assert len(line) < 4096
    assert "(100000 characters)" in line


def test_json_exactly_when_stderr_is_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(2)
    for value, expected in [
        (f"{status.st_dev}:{status.st_ino}", True),
        (f"{status.st_dev}:{status.st_ino + 1}", False),
        (f"{status.st_dev}", False),
        ("a:b", False),
        ("", False),
    ]:
        monkeypatch.setenv("JOURNAL_STREAM", value)
        assert log.under_journal() is expected
    monkeypatch.delenv("JOURNAL_STREAM")
    assert log.under_journal() is False


class _Counted(io.StringIO):
    """Remembers each piece that was written."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def write(self, text: str) -> int:
        self.parts.append(text)
        return super().write(text)


async def test_the_lines_of_a_turn_are_written_together() -> None:
    stream = _Counted()
    log.configure("info", stream, as_json=False)
    for number in range(3):
        log.event(log.logger, log.INFO, "request", number=number)
    assert stream.parts == []
    await asyncio.sleep(0)
    log.event(log.logger, log.INFO, "next turn")
    await asyncio.sleep(0)
    assert [part.count("\n") for part in stream.parts] == [3, 1]


async def test_no_write_is_larger_than_a_pipe_keeps_together() -> None:
    stream = _Counted()
    log.configure("info", stream, as_json=True)
    for number in range(100):
        log.event(log.logger, log.INFO, "request", number=number, value="a" * 100)
    await asyncio.sleep(0)
    assert all(len(part) <= 4096 and part.endswith("\n") for part in stream.parts)
    lines = stream.getvalue().splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(100))


def test_nothing_is_lost_when_the_process_ends() -> None:
    program = (
        "import asyncio\n"
        "from mcp_proxy.watch import log\n"
        "log.configure('info')\n"
        "async def main():\n"
        "    log.event(log.logger, log.INFO, 'last words')\n"
        "    raise SystemExit(3)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 3
    assert "last words" in ended.stderr


words = st.one_of(st.text(), st.binary())
figures = st.one_of(
    st.integers(),
    st.floats(-1e299, 1e299).map(lambda number: round(number, 6)),
)


@pytest.mark.parametrize("as_json", [True, False])
@given(labels=st.lists(st.tuples(words, words), min_size=1), size=figures)
def test_a_frequent_line_looks_like_any_other(
    as_json: bool, labels: list[tuple[str | bytes, str | bytes]], size: float
) -> None:
    finished = Frequent(log.INFO, "request finished", ("route", "method"), ("size",))

    def act() -> None:
        for route, method in labels * 2:
            log.frequent(finished, (route, method), (size,))
            log.event(
                log.logger, log.INFO, "request finished", route=route, method=method, size=size
            )

    lines = written(as_json, "info", act)
    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
    bare = [stamp.sub("", line) for line in lines]
    assert len(bare) == 4 * len(labels)
    assert bare[::2] == bare[1::2]


def test_few_frequent_lines_are_remembered() -> None:
    finished = Frequent(log.INFO, "request finished", ("route",), ("size",))
    lines = LogLines(lambda text, lost: None, JsonForm())
    for number in range(5000):
        lines.add_frequent(finished, 0.0, (f"route{number}",), (1,))
    assert len(lines._templates) <= log_lines._MOST_TEMPLATES
