"""A run in which nobody can answer ends at once, and one at a terminal asks."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import job
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

COLLECTION = Path(role_options.__file__).parents[3]
ASKED = "Type yes to go on"
RUNNER = {"AWX_ISOLATED_DATA_DIR": "/runner/artifacts/1"}


@pytest.mark.parametrize(
    ("arguments", "settings", "reason"),
    [
        (["-e", "awx_job_id=7"], {}, "this run is a job of AWX or Tower"),
        (["-e", "tower_job_id=7"], {}, "this run is a job of AWX or Tower"),
        ([], RUNNER, "this run was started by ansible-runner"),
    ],
)
def test_a_job_with_a_terminal_asks_nobody(tmp_path, arguments, settings, reason):
    """AWX gives a job a terminal, so a question would wait for ever."""
    simulation = Simulation(tmp_path)
    simulation.settings = settings
    status, output = simulation.run_at_terminal("teardown", *arguments)
    assert status != 0
    assert ASKED not in output
    assert f"nobody can be asked, because {reason}. Set mcp_tunnel_teardown_confirmed" in output
    assert simulation.calls() == []


def test_a_run_without_a_terminal_asks_nobody(tmp_path):
    simulation = Simulation(tmp_path)
    status, output = simulation.run("teardown")
    assert status != 0
    assert "because the input of this run is no terminal. Set mcp_tunnel_teardown_conf" in output
    assert simulation.calls() == []


@pytest.mark.parametrize(("answer", "goes"), [("yes", True), ("no", False)])
def test_a_person_is_asked(tmp_path, answer, goes):
    """The lease of the instance is given back after any answer."""
    simulation = Simulation(tmp_path)
    status, output = simulation.run_at_terminal("teardown", question=ASKED, answer=answer)
    calls = simulation.calls()
    assert (status == 0) == goes, output[-3000:]
    assert any(call["module"] == "file_set" for call in calls) == goes
    leases = [call["arguments"] for call in calls if call["module"] == "state_host"]
    assert leases[0].get("state", "held") == "held"
    assert leases[-1]["state"] == "released"


def test_check_mode_needs_nobody(tmp_path):
    """Nor does a confirmation: the runs of other tests have one, and no terminal."""
    status, output = Simulation(tmp_path).run("teardown", "--check", "-e", "awx_job_id=7")
    assert status == 0, output[-3000:]


def test_a_controller_without_proc_may_have_a_terminal(tmp_path):
    assert job.unattended({}, 1, tmp_path) == ""


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_an_input_that_is_no_device(tmp_path, kind):
    entry = tmp_path / "proc/7/fd/0"
    entry.parent.mkdir(parents=True)
    os.mkfifo(entry) if kind == "pipe" else entry.touch()
    assert job.unattended({}, 7, tmp_path) == "the input of this run is no terminal"


def texts() -> list[Path]:
    """Return all files of the collection that a run executes, or takes a message from."""
    folders = [COLLECTION / name for name in ("playbooks", "roles", "plugins")]
    found = [path for folder in folders for path in folder.rglob("*")]
    return [path for path in found if path.suffix in (".py", ".yml", ".j2") and path.is_file()]


def test_nothing_else_waits_for_a_person():
    """The one question is that of teardown.yml."""
    asking = re.compile(r"ansible\.builtin\.pause|\bvars_prompt\b|\binput\(|\bgetpass\.getpass\b")
    found = [path.name for path in texts() if asking.search(path.read_text(encoding="utf-8"))]
    assert found == ["teardown.yml"]


def test_messages_do_not_presume_a_command_line():
    """In a job template, a variable is set in a survey, the inventory or extra variables."""
    presuming = re.compile(r"""(?<![\w-])-e\s+[\w"'@{]*_\w+|--extra-vars|\b(?:pass|with) -e\b""")
    found = {
        str(path.relative_to(COLLECTION)): presuming.findall(text)
        for path in texts()
        if presuming.search(text := path.read_text(encoding="utf-8"))
    }
    assert found == {}
