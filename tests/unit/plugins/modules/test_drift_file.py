"""The module drift, as Ansible runs it on a host: judged by another reader of the format."""

from __future__ import annotations

import stat

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import run_module

PARTS = ("releases", "files", "certificate", "firewall", "services", "credentials")


def series(path):
    """Return the samples of a file in Prometheus' text format: name and labels to value."""
    lines = path.read_text().splitlines()
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    assert len({line.split()[2] for line in lines if line.startswith("# TYPE")}) == len(
        {name.partition("{")[0] for name, _blank, _value in samples}
    )
    return {name: int(value) for name, _blank, value in samples}


def report(directory, **options):
    return run_module("drift", instance="blue", directory=str(directory), **options)


def test_the_file_of_a_replica(tmp_path):
    done = report(tmp_path, parts=["firewall", "files"], checked_at=1_900_000_000, ca_expiry=7)
    assert not done.changed
    assert done.result["parts"] == ["files", "firewall"]
    assert done.result["written"] is True
    (path,) = tmp_path.iterdir()
    assert path.name == "mcp_tunnel_drift_blue.prom"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    differs = {
        f'mcp_tunnel_drift{{mcp_tunnel_instance="blue",part="{part}"}}': int(
            part in ("files", "firewall")
        )
        for part in PARTS
    }
    assert series(path) == {
        **differs,
        'mcp_tunnel_drift_check_timestamp_seconds{mcp_tunnel_instance="blue"}': 1_900_000_000,
        'mcp_tunnel_ca_expiry_timestamp_seconds{mcp_tunnel_instance="blue"}': 7,
    }


def test_an_unknown_end_of_the_ca_is_no_series(tmp_path):
    report(tmp_path, checked_at=1)
    (path,) = tmp_path.iterdir()
    assert "mcp_tunnel_ca_expiry" not in path.read_text()


def test_a_host_without_the_directory(tmp_path):
    done = report(tmp_path / "none", parts=["files"], checked_at=1)
    assert not done.failed
    assert done.result["written"] is False
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_the_file_is_refused(tmp_path):
    """Of the collector's user, who may write there: nothing is written through it."""
    target = tmp_path / "elsewhere"
    target.write_text("kept")
    directory = tmp_path / "collector"
    directory.mkdir()
    (directory / "mcp_tunnel_drift_blue.prom").symlink_to(target)
    assert report(directory, checked_at=1).failed
    assert target.read_text() == "kept"


def test_no_name_of_an_instance(tmp_path):
    done = run_module("drift", instance="../x", directory=str(tmp_path))
    assert done.failed
    assert "is no name of an instance" in done.message
