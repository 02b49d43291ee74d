"""Playbooks as jobs of AWX, and everything that is left of a job: no secret is in it."""

from __future__ import annotations

from pathlib import Path

import jobs
import pytest
import yaml
from deployed import STATE, a_call_is_answered, fingerprint, stored
from replicas import HOSTS, shell
from secrets_search import SHAPES, found, key_lines, token_forms


@pytest.fixture(scope="module")
def deployment(identity_token: str, tmp_path_factory: pytest.TempPathFactory) -> jobs.Job:
    """A job that fetches and writes the credentials anew, with the answers of a survey.

    It has the highest verbosity of a job template, and shows differences.
    """
    assert SHAPES.search(identity_token)
    shell(HOSTS[0]).check_output(f"rm {STATE}/tunnel-token")
    for name in HOSTS:
        shell(name).check_output(
            "rm /etc/mcp-tunnel/default/tunnel-token /etc/mcp-tunnel/default/tls/tls.crt"
        )
    identity = yaml.safe_dump({"source": "literal", "literal": identity_token})
    answers = {"mcp_tunnel_identity": identity, "mcp_tunnel_batch": "", "mcp_tunnel_archive": "no"}
    loud = "-vvvvv --diff"
    return jobs.run(tmp_path_factory.mktemp("site"), "site", answers, options=loud)


def test_a_deployment(deployment: jobs.Job) -> None:
    assert deployment.status == "successful", deployment.output[-3000:]
    assert sorted(deployment.statistics["changed"]) == HOSTS
    report = deployment.statistics["artifact_data"]["mcp_tunnel_report"]
    assert (report["duty"], report["status"]) == ("deploy", "done")
    tunnel = report["tunnels"]["default"]
    assert tunnel["healthy"] == HOSTS
    assert tunnel["tunnel_id"] == stored("tunnel-id")
    assert tunnel["domain"] == stored("tunnel-domain")
    assert tunnel["ca"] == {
        "fingerprint": fingerprint(stored("ca.crt")),
        "certificate": "",
        "registration": "done",
    }
    a_call_is_answered("a job")


def test_no_secret_is_left_of_it(deployment: jobs.Job, identity_token: str) -> None:
    left = deployment.left_behind()
    # The things that are searched are there: the environment, the output, the events.
    for part in ("AWX_ISOLATED_DATA_DIR", "PLAY RECAP", "playbook_on_stats"):
        assert part in left
    needles = [identity_token, identity_token.rsplit(".", 1)[1]]
    needles += token_forms(stored("tunnel-token"))
    for name in HOSTS:
        needles += key_lines(name)
    assert len(needles) == 6 + 2 * (len(HOSTS) + 1)  # the CA's key, too
    assert found(needles, left) == []
    assert not SHAPES.search(left)


def test_a_verification(deployment: jobs.Job, tmp_path: Path) -> None:
    """It gets the artifact of the job before it, as in a workflow, and shows rows as a list."""
    earlier = deployment.statistics["artifact_data"]
    job = jobs.run(tmp_path, "verify", earlier)
    assert job.status == "successful", job.output[-3000:]
    report = job.statistics["artifact_data"]["mcp_tunnel_report"]
    assert (report["duty"], report["status"]) == ("verify", "done")
    tables = [
        event["event_data"]["res"]["msg"]
        for event in job.events
        if event["event"] == "runner_on_ok" and event["event_data"]["task"] == "Show the tables"
    ]
    assert len(tables) == len(HOSTS)
    for table in tables:
        assert isinstance(table, list)
        assert any("4 of 4" in row for row in table)
