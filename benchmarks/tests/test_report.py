from __future__ import annotations

from benchmarks.figures import Sample, compare
from benchmarks.playbook import Census
from benchmarks.report import (
    comparison_head,
    comparison_row,
    deploy_head,
    deploy_row,
    number,
    verdict,
)


def test_row_is_aligned_with_its_head() -> None:
    row = compare("µs", [(Sample(61.234, {}, 15000), Sample(70, {"haproxy": 40.0}, 14000))])
    line = comparison_row("CPU per small request", row)
    head, rule = comparison_head("proxy", "rival").split("\n")
    assert line.split("  (")[0].rstrip() == line[: len(head)]
    assert len(head) == len(rule)
    assert line.index("61.2") + 4 == head.index("proxy") + 5
    assert "0.87" in line
    assert line.endswith("15000 / 14000  (haproxy 40)")


def test_row_without_rate_and_parts() -> None:
    row = compare("kB", [(Sample(20), Sample(10))])
    assert comparison_row("memory per idle connection", row).rstrip().endswith("2.00-2.00")


def test_numbers_are_short_and_plain() -> None:
    shown = [number(v) for v in (0.012345, 1.0, 61.26, 123.4, 123456.0)]
    assert shown == ["0.0123", "1", "61.3", "123", "123000"]


def test_deployment_rows_stand_under_their_heads() -> None:
    head, rule = deploy_head().split("\n")
    line = deploy_row("site.yml, 2 hosts, nothing to do", 12.34, Census(21, 3, 14, 17, 2, []))
    assert len(head) == len(rule) == len(line)
    assert line.split()[-6:] == ["12.3", "21", "3", "14", "17", "2"]
    assert deploy_row("make demo, second run", 99.0, None).split()[-1] == "99.0"


def test_verdict_names_what_is_slower() -> None:
    assert verdict(True, []) == "Nothing is slower than recorded."
    assert verdict(True, ["a: 1 -> 2", "b: 2 -> 3"]).split("\n")[1:] == [
        "  a: 1 -> 2",
        "  b: 2 -> 3",
    ]
    assert "--record" in verdict(False, [])
