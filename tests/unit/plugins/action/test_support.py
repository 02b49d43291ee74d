"""The playbook support: archives are data of hosts that may lie."""

from __future__ import annotations

import re
import stat

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation


@pytest.fixture
def simulation(tmp_path):
    return Simulation(tmp_path)


def fetched(simulation):
    """Return host to content of the archives on the controller."""
    directory = simulation.directory / "archives"
    paths = sorted(directory.iterdir()) if directory.is_dir() else []
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o600] * len(paths)
    return {path.name.partition("-")[0]: path.read_text() for path in paths}


def questions(simulation, host):
    return [
        call["arguments"]["state"]
        for call in simulation.calls()
        if call["host"] == host and call["module"] == "support"
    ]


def test_every_archive_arrives_whole_and_is_removed_from_its_host(simulation):
    long = "".join(f"line {number}\n" for number in range(50_000))
    simulation.world["archives"] = {"host2": long}
    status, output = simulation.run("support")
    assert status == 0, output[-3000:]
    assert fetched(simulation) == {"host1": "archive of host1", "host2": long}
    parts = -(-len(long) // (180 * 1024))
    assert questions(simulation, "host1") == ["made", "read", "absent"]
    assert questions(simulation, "host2") == ["made", *["read"] * parts, "absent"]
    assert parts > 1
    assert stat.S_IMODE((simulation.directory / "archives").stat().st_mode) == 0o700
    # A later run replaces nothing, and every name is the controller's.
    first = set((simulation.directory / "archives").iterdir())
    table = [line.strip() for line in output.splitlines() if " fetched " in line]
    assert len(table) == 2
    assert all(any(str(path) in line for line in table) for path in first)


def test_check_mode_says_so_and_asks_nobody(simulation):
    status, output = simulation.run("support", "--check")
    assert status == 0, output[-3000:]
    assert simulation.calls() == []
    assert fetched(simulation) == {}
    assert "Would collect an archive on this host, and fetch it to" in output
    assert output.count("would be fetched") >= 2


def test_a_secret_on_one_host_is_named_and_is_a_failure(simulation):
    left = [{"name": "journals/x.txt", "why": "it holds the tunnel token in /x"}]
    simulation.attack(
        "host2",
        "support",
        arguments={"state": "made"},
        merge={"secrets": ["journals/x.txt"], "left_out": left},
    )
    status, output = simulation.run("support")
    assert status != 0
    assert fetched(simulation).keys() == {"host1", "host2"}, "of the rest there is an archive"
    assert "secrets: left out journals/x.txt. Find out" in output


LIES = {
    "a size that is none": {"arguments": {"state": "made"}, "merge": {"size": "16"}},
    "more than is taken": {"arguments": {"state": "made"}, "merge": {"size": 16 * 1024 * 1024 + 1}},
    "more than there is": {"arguments": {"state": "made"}, "merge": {"size": 1000}},
    "less than there is": {"arguments": {"state": "made"}, "merge": {"size": 3}},
    "another one": {"arguments": {"state": "made"}, "merge": {"sha256": "ab" * 32}},
    "a sum that is none": {"arguments": {"state": "made"}, "merge": {"sha256": "../x"}},
    "a reason without end": {
        "arguments": {"state": "made"},
        "merge": {"left_out": [{"name": "x", "why": "x" * 1001}]},
    },
    "no base64": {"arguments": {"state": "read"}, "merge": {"content": "\x1b[2J"}},
    "nothing, for ever": {"arguments": {"state": "read"}, "merge": {"content": ""}},
    "a part without end": {"arguments": {"state": "read"}, "long": ["content"]},
    "a path": {"arguments": {"state": "made"}, "merge": {"left_out": [{"path": "/etc/shadow"}]}},
    "names without end": {"arguments": {"state": "made"}, "merge": {"secrets": ["x"] * 501}},
    "lines without number": {
        "arguments": {"state": "made"},
        "merge": {"blanked": [{"name": "x", "lines": "many"}]},
    },
    "a failure": {"merge": {"failed": True, "msg": "\x1b]0;owned\x07 no"}},
    "a dead host": {"unreachable": True},
}


def test_a_host_that_lies_writes_nothing_and_stops_nobody(simulation):
    """Each has a host of its own, all in one run."""
    simulation.hosts = {"host1": {}, **{f"evil{number}": {} for number in range(len(LIES))}}
    for number, how in enumerate(LIES.values()):
        simulation.attack(f"evil{number}", "support", **how)
    status, output = simulation.run("support")
    assert status != 0
    assert fetched(simulation) == {"host1": "archive of host1"}
    assert "\x1b" not in output
    assert "A" * 10_000 not in output
    for number, lie in enumerate(LIES):
        assert re.search(rf'"evil{number} +FAILED +', output), lie


def test_names_of_a_host_are_no_names_of_files(simulation):
    left = [{"name": "../../../evil\x1b[2J", "why": "x" * 1000}]
    # Anybody may have sent what is blanked, in a request that was logged: that is no failure.
    blanked = [{"name": "../x\x1b[2J", "lines": 7}, {"name": "journals/y.txt", "lines": 5}]
    merge = {"left_out": left, "blanked": blanked}
    simulation.attack("host2", "support", arguments={"state": "made"}, merge=merge)
    status, output = simulation.run("support")
    assert status == 0, output[-3000:]
    rows = [line.replace('"', " ").split() for line in output.splitlines() if " fetched " in line]
    counts = {row[0]: row[4:7] for row in rows}
    assert counts == {"host1": ["0", "0", "0"], "host2": ["1", "12", "0"]}
    assert fetched(simulation).keys() == {"host1", "host2"}
    assert "\x1b" not in output


def test_an_archive_that_was_refused_does_not_stay_on_its_host(simulation):
    simulation.attack("host2", "support", arguments={"state": "read"}, merge={"content": ""})
    simulation.attack("host2", "support", arguments={"state": "absent"}, merge={"failed": True})
    status, output = simulation.run("support")
    assert status != 0
    assert questions(simulation, "host2") == ["made", "read", "absent"]
    assert "host2: has not sent the archive that it has made" in output


def test_a_failure_of_a_host_is_shown_in_its_own_words(simulation):
    simulation.attack("host2", "support", merge={"failed": True, "msg": "x: is not here. Go."})
    status, output = simulation.run("support")
    assert status != 0
    assert "host2: x: is not here. Go. To try it there, run mcp-tunnel support on the" in output


@pytest.mark.parametrize(
    ("dest", "problem"),
    [
        ("archives", "mcp_tunnel_support_dest: must be an absolute path"),
        (5, "mcp_tunnel_support_dest"),
    ],
)
def test_a_directory_that_cannot_be_meant_is_refused_before_any_host_is_asked(
    simulation, dest, problem
):
    simulation.variables["mcp_tunnel_support_dest"] = dest
    status, output = simulation.run("support")
    assert status != 0
    assert problem in output
    assert simulation.calls() == []


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_a_directory_that_others_can_write_is_not_used(simulation, arguments):
    shared = simulation.directory / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    simulation.variables["mcp_tunnel_support_dest"] = str(shared)
    status, output = simulation.run("support", *arguments)
    assert status != 0
    assert "can be written by other users, and so could exchange archives" in output
    assert simulation.calls() == []
    assert stat.S_IMODE(shared.stat().st_mode) == 0o777, "nothing of it was changed"


def test_a_file_in_the_place_of_the_directory_is_refused_before_any_host_is_asked(simulation):
    path = simulation.directory / "archives"
    path.write_text("a file")
    status, output = simulation.run("support")
    assert status != 0
    assert f"mcp_tunnel_support_dest {path}: cannot be written: Not a directory" in output
    assert simulation.calls() == []
    assert path.read_text() == "a file"
