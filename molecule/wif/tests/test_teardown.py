"""The end, which nobody reaches by mistake: as a job of AWX, too, in which nobody can be asked."""

from __future__ import annotations

from pathlib import Path

import jobs
import pytest
from deployed import STATE, stored
from replicas import DOMAIN, HOSTS, play, recap, shell, unquoted
from secrets_search import found, key_lines, token_forms
from tunnels_api import status

CONFIRMED = ("-e", "mcp_tunnel_teardown_confirmed=true")


@pytest.fixture(scope="module")
def tunnel_id() -> str:
    return stored("tunnel-id")


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({}, marks=pytest.mark.exhaustive),
        {"mcp_tunnel_teardown_confirmed": "no"},
    ],
)
def test_nothing_happens_without_a_yes(
    tunnel_id: str, tmp_path: Path, answers: dict[str, str]
) -> None:
    """A job that waits would be ended by its time limit, with another status."""
    job = jobs.run(tmp_path, "teardown", answers, limit=600)
    assert job.status == "failed", job.output[-3000:]
    assert "Set mcp_tunnel_teardown_confirmed: true." in unquoted(job.output)
    assert job.statistics["changed"] == {}
    assert stored("tunnel-id") == tunnel_id


def test_check_mode_changes_nothing(tunnel_id: str) -> None:
    done = play("--check", *CONFIRMED, playbook="teardown")
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] > 0 for counters in recap(done.stdout).values())
    assert stored("tunnel-id") == tunnel_id


def test_teardown_leaves_nothing(tunnel_id: str, tmp_path: Path) -> None:
    needles = [*token_forms(stored("tunnel-token")), *(k for n in HOSTS for k in key_lines(n))]
    answers = {"mcp_tunnel_teardown_confirmed": "yes", "mcp_tunnel_archive": "yes"}
    job = jobs.run(tmp_path, "teardown", answers)
    assert job.status == "successful", job.output[-3000:]
    assert found(needles, job.left_behind()) == []
    report = job.statistics["artifact_data"]["mcp_tunnel_report"]
    assert (report["duty"], report["status"]) == ("teardown", "done")
    assert report["tunnels"]["default"]["removed"] == HOSTS
    tunnels = {each["id"]: each for each in status()["tunnels"]}
    assert tunnels[tunnel_id]["archived_at"]
    assert not any(each["archived_at"] for each in tunnels.values() if each["domain"] == DOMAIN)
    for name in HOSTS:
        host = shell(name)
        assert host.check_output("systemctl list-units --all --no-legend 'mcp-*' || true") == ""
        assert host.check_output("systemctl list-unit-files --no-legend 'mcp-*' || true") == ""
        left = host.check_output(
            "find /etc /var/lib /opt /run /usr/local -xdev -path '*mcp-*'"
            " -not -path '/var/lib/systemd/*'"
        )
        assert [path for path in left.splitlines() if path != STATE.rpartition("/")[0]] == []
        for user in ("mcp-proxy", "mcp-cloudflared", "mcp-tunnel-renew", "mcp-tunnel-signer"):
            assert not host.user(user).exists
        assert host.check_output("nft list ruleset") == ""
        assert not host.file("/etc/nftables.d").exists


def test_a_second_one_changes_nothing() -> None:
    done = play(*CONFIRMED, "-e", "mcp_tunnel_archive=true", playbook="teardown")
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values())
