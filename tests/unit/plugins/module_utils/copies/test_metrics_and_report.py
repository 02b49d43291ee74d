"""The age of the copies: for the node exporter, and for people."""

from __future__ import annotations

import json
import os
import stat

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import (
    metrics,
    records,
    report,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.copies.states import (
    make_files,
    write_files,
)

AT = "2026-11-29T05:00:00Z"


@pytest.fixture
def directory(tmp_path, openssl_ca):
    """A state directory."""
    return write_files(tmp_path / "default", make_files(openssl_ca))


@pytest.fixture
def collector(tmp_path):
    """The directory of a textfile collector."""
    (tmp_path / "textfiles").mkdir()
    return tmp_path / "textfiles"


def remember(directory, kind, state="", hosts=()):
    """Store a copy of this state, by default of the present one."""
    state = state or records.look(str(directory)).state
    copy = records.Copy(state, "12" * 32, AT, AT, "34" * 32, list(hosts))
    records.store(str(directory), kind, copy)


def written(directory, collector):
    """Return the samples in the file, and the whole text."""
    metrics.Metrics("default", str(collector)).write(str(directory))
    text = (collector / "mcp_tunnel_state_default.prom").read_text()
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return samples, text


def test_the_file_of_the_collector(directory, collector):
    remember(directory, "backup", "ab" * 32)
    remember(directory, "standby", hosts=["host2"])
    samples, text = written(directory, collector)
    labels = 'mcp_tunnel_instance="default",kind'
    assert samples == {
        f'mcp_tunnel_state_copy_timestamp_seconds{{{labels}="backup"}}': "1795928400",
        f'mcp_tunnel_state_copy_timestamp_seconds{{{labels}="standby"}}': "1795928400",
        f'mcp_tunnel_state_copy_current{{{labels}="backup"}}': "0",
        f'mcp_tunnel_state_copy_current{{{labels}="standby"}}': "1",
    }
    assert text.endswith("\n")
    file = collector / "mcp_tunnel_state_default.prom"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [each.name for each in collector.iterdir()] == [file.name], "nothing half-written"


def test_the_client_of_prometheus_reads_it(directory, collector):
    from prometheus_client.parser import text_string_to_metric_families

    families = {f.name: f for f in text_string_to_metric_families(written(directory, collector)[1])}
    assert set(families) == {
        "mcp_tunnel_state_copy_timestamp_seconds",
        "mcp_tunnel_state_copy_current",
    }
    assert {sample.value for family in families.values() for sample in family.samples} == {0}


def test_without_a_state_or_a_place_there_is_no_file(directory, collector, tmp_path):
    written(directory, collector)
    metrics.Metrics("default", str(collector)).write(str(tmp_path / "none"))
    assert list(collector.iterdir()) == []
    metrics.Metrics("default", "").write(str(directory))
    metrics.Metrics("default", "").check_place()
    with pytest.raises(TunnelError, match="mcp_tunnel_textfile_dir: /none is no directory"):
        metrics.Metrics("default", "/none").check_place()


def test_a_copy_that_no_replica_keeps_any_more_is_not_current(directory, collector):
    remember(directory, "standby")
    samples, _text = written(directory, collector)
    labels = 'mcp_tunnel_instance="default",kind="standby"'
    assert samples[f"mcp_tunnel_state_copy_current{{{labels}}}"] == "0"
    assert "and no replica keeps it any more; set" in table(directory)[-1]


def table(directory, standby="/none"):
    """Return the lines for people, with single spaces."""
    return [" ".join(line.split()) for line in report.copies_table(str(directory), str(standby))]


def with_replicas(directory, *names):
    """Put these on the list of replicas."""
    (directory / "replicas.json").write_text(json.dumps({"replicas": {name: {} for name in names}}))


def test_copies_that_could_not_be_or_need_not_be_are_not_missed(directory):
    with_replicas(directory, "host1")
    assert [row.split()[0] for row in table(directory)[1:]] == ["backup"]
    with_replicas(directory, "host1", "host2")
    (directory / "ca.key").unlink()
    assert table(directory) == [], "the operator has the key"
    remember(directory, "backup")
    assert [row.split()[0] for row in table(directory)[1:]] == ["backup"]


def test_a_state_without_copies(directory):
    with_replicas(directory, "host1", "host2")
    header, backup, standby = table(directory)
    assert header == "copies of the state state detail"
    assert backup == "backup notice none is known; run backup.yml"
    assert standby.startswith("standby notice none is known; set mcp_tunnel_backup_recipients")


def test_copies_that_are_right_and_old(directory):
    remember(directory, "backup")
    remember(directory, "standby", "ab" * 32, ["host2", "host3"])
    _header, backup, standby = table(directory)
    assert backup.startswith(f"backup ok made at {AT}, seen ")
    assert standby.startswith(f"standby notice made at {AT}, seen on host2, host3 ")
    assert "older than the state; set mcp_tunnel_backup_recipients and run site.yml" in standby


def test_a_replica_that_keeps_a_copy(tmp_path):
    assert table(tmp_path / "none") == []
    kept = tmp_path / "state.age"
    kept.write_text("x")
    os.utime(kept, (0, 0))
    _header, row = table(tmp_path / "none", kept)
    assert row.startswith(f"{kept} ok kept for the state host, ")
    assert row.endswith(" d old")


def test_a_state_that_cannot_be_read_is_told(directory):
    with (directory / "large").open("wb") as file:
        file.truncate(1 << 20)
    _header, row = table(directory)
    assert "notice" in row
    assert "KiB" in row
