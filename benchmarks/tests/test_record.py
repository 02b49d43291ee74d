from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import BenchError, record

COLUMNS = {"ratio": 0.10, "tasks_per_host": 0.0}


def _proxy(ratio: float, ours: float = 1.0) -> record.Results:
    return {"proxy": {"rows": {"small_request": {"ratio": ratio, "ours": ours}}}}


def test_a_greater_ratio_is_named_with_both_figures() -> None:
    lines = record.slower(_proxy(1.2), _proxy(1.0), COLUMNS)
    assert lines == ["proxy small_request: ratio 1 -> 1.2"]


def test_noise_and_other_machines_are_not_reported() -> None:
    assert record.slower(_proxy(1.09), _proxy(1.0), COLUMNS) == []
    assert record.slower(_proxy(1.0, ours=900), _proxy(1.0, ours=1), COLUMNS) == []


def test_one_task_more_is_reported() -> None:
    def deploy(tasks: int | None) -> record.Results:
        return {"deploy": {"rows": {"site 2 hosts": {"tasks_per_host": tasks, "seconds": 9}}}}

    assert record.slower(deploy(21), deploy(20), COLUMNS)
    assert record.slower(deploy(20), deploy(20), COLUMNS) == []
    assert record.slower(deploy(20), deploy(None), COLUMNS) == []


def test_a_new_row_has_nothing_to_be_compared_with() -> None:
    assert record.slower(_proxy(9.0), {}, COLUMNS) == []


def test_sections_that_were_not_run_stay(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    record.store(path, {"proxy": {"rows": {}}, "deploy": {"rows": {"a": {}}}})
    record.store(path, {"proxy": {"rows": {"b": {}}}})
    assert record.load(path) == {"proxy": {"rows": {"b": {}}}, "deploy": {"rows": {"a": {}}}}


def test_a_damaged_record_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert record.load(path) == {}
    path.write_text("{")
    with pytest.raises(BenchError, match=r"results\.json is not JSON .* restore it"):
        record.load(path)
