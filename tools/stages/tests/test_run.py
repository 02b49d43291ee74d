"""Runs of stages that pass, fail, crash, hang, or run no test, as a user at a terminal has them.

Pytest itself makes the JUnit XML, as in a real run.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages import summary
from stages.__main__ import chosen, run
from stages.stage import Stage

CLOSING = re.compile(r"=== (?:(\d+) failed, )?(\d+) passed(?:, (\d+) skipped)?(?:, (\d+) errors)?")


def suite(root: Path, name: str, body: str) -> Stage:
    """A stage that runs pytest on a file with this text."""
    (root / f"test_{name}.py").write_text(body)
    report = f"{name}.xml"
    options = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--junit-xml={report}")
    command = (sys.executable, "-m", "pytest", *options, f"test_{name}.py")
    return Stage(name, command, reports=(report,))


def shell(name: str, script: str, **options: object) -> Stage:
    return Stage(name, ("sh", "-c", script), **options)  # type: ignore[arg-type]


def end(
    root: Path, capsys: pytest.CaptureFixture[str], *stages: Stage, workers: int = 2
) -> tuple[int, str, list[str]]:
    """Run the stages: exit status, whole output, and the lines that a user sees at the end.

    The output is as short as it has to be, and ends with pytest's line.
    """
    status = run(stages, root, workers)
    output = capsys.readouterr().out
    last = output.splitlines()[-summary.LAST_LINES :]
    assert CLOSING.match(last[-1]), last[-1]
    return status, output, last


PASSING = """
import pytest
def test_a(): pass
@pytest.mark.parametrize("n", range(3))
def test_b(n): pass
@pytest.mark.skipif(True, reason="no moon tonight")
def test_c(): pass
@pytest.mark.skipif(True, reason="no moon tonight")
def test_d(): pass
"""
FAILING = """
import pytest
def test_good(): pass
def test_bad(): assert 1 == 2, "the numbers differ"
@pytest.fixture
def broken(): raise OSError("no such luck")
def test_without_setup(broken): pass
"""


def test_what_passes_is_counted_and_what_was_skipped_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare = shell("prepare", "true")
    status, output, last = end(tmp_path, capsys, suite(tmp_path, "fine", PASSING), prepare)
    assert status == 0
    assert "skipped, fine: 2 x no moon tonight" in last
    rows = [line.split()[:4] for line in last]
    assert ["fine", "4", "0", "2"] in rows
    assert ["prepare", "0", "0", "0"] in rows
    assert re.match(r"=== 4 passed, 2 skipped in \d+\.\d\ds \(\d:\d\d:\d\d\) ===$", last[-1])
    assert "FAILED" not in output
    assert "passed, 2 skipped" in (tmp_path / ".build/logs/fine.log").read_text()


def test_a_failure_is_named_and_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = (
        suite(tmp_path, "bad", FAILING),
        suite(tmp_path, "worse", FAILING),
        suite(tmp_path, "fine", PASSING),
    )
    status, _output, last = end(tmp_path, capsys, *stages, workers=1)
    closing = last[last.index("FAILED bad: tests failed (.build/logs/bad.log)") :]
    text = "\n".join(closing)
    assert status == 1
    for name in ("bad", "worse"):
        assert f"FAILED {name}: tests failed (.build/logs/{name}.log)" in closing
        assert f"test_{name}::test_bad" in text
        assert f"test_{name}::test_without_setup" in text
    assert text.count("AssertionError: the numbers differ") >= 2
    assert "=== 4 failed, 6 passed, 2 skipped" in last[-1]


def test_the_same_error_28000_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = """
import pytest
@pytest.mark.parametrize("n", range(700))
def test_it(n):
    raise OSError("\\n".join(["the laboratory is gone"] * 40))
"""
    status, output, last = end(tmp_path, capsys, suite(tmp_path, "gone", body))
    assert status == 1
    assert "test_it[0]" in "\n".join(last)
    assert "the laboratory is gone" in "\n".join(last)
    assert "=== 700 failed, 0 passed" in last[-1]
    assert len(output.splitlines()) < 2 * (summary.EXCERPT + summary.LAST_LINES)
    assert len((tmp_path / ".build/logs/gone.log").read_text().splitlines()) > 28000


def test_28000_lines_of_a_command_without_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "yes fine | head -n 14000; yes 'fatal: [host1]: gone' | head -n 14000; exit 4"
    status, output, last = end(tmp_path, capsys, shell("loud", script))
    assert status == 1
    assert "FAILED loud: exit status 4 (.build/logs/loud.log)" in last
    assert "    fatal: [host1]: gone" in last
    assert len(output.splitlines()) < 2 * (summary.EXCERPT + summary.LAST_LINES)


def test_a_crash_after_good_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = PASSING + "\ndef test_z():\n    import os; os.kill(os.getpid(), 9)\n"
    status, _output, last = end(tmp_path, capsys, suite(tmp_path, "crash", body))
    assert status == 1
    assert "FAILED crash: killed by SIGKILL (.build/logs/crash.log)" in last
    assert "1 errors" in last[-1]


def test_a_run_that_was_stopped_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The laboratory is gone: earlier failures do not hide that most tests did not run."""
    # The exit comes from the set-up, as in molecule/conftest.py.
    body = f"""{FAILING}
@pytest.fixture
def lab(): pytest.exit("the laboratory is gone: see /logs", 3)
def test_x(lab): pass
def test_y(lab): pass
"""
    status, _output, last = end(tmp_path, capsys, suite(tmp_path, "cut", body))
    assert status == 1
    said = "FAILED cut: stopped: the laboratory is gone: see /logs (.build/logs/cut.log)"
    assert said in last
    assert "2 failed, 1 passed, 1 errors" in last[-1]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 0", "executed no test (exit status 0)"),
        ("echo '<testsuites/>' >none.xml", "executed no test (exit status 0)"),
        ("echo '<testsuites>' >none.xml", "none.xml is no JUnit XML"),
        (
            'echo \'<a><testcase name="t"><skipped message="no lab"/></testcase></a>\' >none.xml',
            "executed no test (exit status 0)",
        ),
        (
            "echo '<a><testcase name=\"t\"/></a>' >none.xml; exit 3",
            "exit status 3",
        ),
    ],
    ids=["no report", "an empty one", "half a report", "all skipped", "good tests, bad end"],
)
def test_what_ran_no_test_has_not_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], script: str, said: str
) -> None:
    status, _output, last = end(tmp_path, capsys, shell("none", script, reports=("none.xml",)))
    assert status == 1
    assert said in "\n".join(last)


def test_the_report_of_an_earlier_run_does_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.xml").write_text('<a><testcase name="t"/></a>')
    status, _output, last = end(tmp_path, capsys, shell("old", "true", reports=("*.xml",)))
    assert status == 1
    assert "executed no test" in "\n".join(last)


def test_what_a_report_says_beside_its_message_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report as ansible-test writes it: the finding is only in the text."""
    failure = '<failure message="failed with 1 error:">a.py:1:2: disallowed name</failure>'
    case = f'<a><testcase classname="sanity" name="pylint">{failure}</testcase></a>'
    script = f"echo '{case}' >s.xml; exit 1"
    _status, _output, last = end(tmp_path, capsys, shell("sanity", script, reports=("s.xml",)))
    assert "    sanity::pylint" in last
    assert "        failed with 1 error:" in last
    assert "        a.py:1:2: disallowed name" in last


def test_a_stage_begins_after_what_it_needs_and_not_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = (
        shell("first", "test -e made", after=("maker",)),
        shell("orphan", "touch ran", after=("breaker", "maker")),
        shell("maker", "sleep 0.2; touch made"),
        shell("breaker", "exit 1"),
    )
    status, _output, last = end(tmp_path, capsys, *stages)
    assert status == 1
    assert not (tmp_path / "ran").exists()
    assert any(line.startswith("FAILED orphan: did not run, for want of: breaker") for line in last)
    assert "FAILED first" not in "\n".join(last)


def test_what_hangs_is_ended_and_may_clean_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "trap 'touch cleaned; exit 1' TERM; echo waits; sleep 600 & wait"
    status, _output, last = end(tmp_path, capsys, shell("slow", script, limit=5))
    assert status == 1
    assert "FAILED slow: ended after 5 s: it hung (.build/logs/slow.log)" in last
    assert (tmp_path / "cleaned").exists()


def test_a_program_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = (Stage("lost", ("/nowhere/program",)), shell("fine", "true"))
    status, _output, last = end(tmp_path, capsys, *stages, workers=1)
    assert status == 1
    assert any(line.startswith("FAILED lost: could not be run: FileNotFound") for line in last)


def test_stages_run_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each waits for the other."""
    meet = "touch {}; until [ -e {} ]; do sleep 0.05; done"
    stages = (
        shell("a", meet.format("a", "b"), limit=600),
        shell("b", meet.format("b", "a"), limit=600),
    )
    assert end(tmp_path, capsys, *stages)[0] == 0


def test_many_failing_stages_still_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = [shell(f"stage{n}", f"seq 1000; echo 'ERROR: reason {n}'; exit 1") for n in range(10)]
    _status, _output, last = end(tmp_path, capsys, *stages)
    for number in range(10):
        assert f"    ERROR: reason {number}" in last


def test_a_run_that_is_told_to_end_ends_its_stages(tmp_path: Path) -> None:
    program = f"""
import pathlib, signal, sys
from stages.__main__ import run
from stages.stage import Stage
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
script = "trap 'touch cleaned; exit 1' TERM; touch began; sleep 600 & wait"
run([Stage("long", ("sh", "-c", script)), Stage("never", ("touch", "ran"), after=("long",))],
    pathlib.Path({str(tmp_path)!r}), 1)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (tmp_path / "began").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(600) == 143
    assert (tmp_path / "cleaned").exists()
    assert not (tmp_path / "ran").exists()


def test_stages_are_chosen_by_name_with_what_they_need() -> None:
    stages = [
        shell("image", "true"),
        shell("lint", "true"),
        shell("molecule a", "true", after=("image",)),
    ]
    assert chosen(stages, []) == stages
    assert [stage.name for stage in chosen(stages, ["mol"])] == ["image", "molecule a"]
    assert chosen(stages, ["nothing"]) == []
