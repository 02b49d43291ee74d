"""The dead man's switch: the test does at once what the switch would do."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import rollback_timer
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import table as nft_table
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd

TIMER = "mcp-tunnel-firewall-rollback-default.timer"


class Systemd:
    """A systemd that knows the timer's state and notes its commands."""

    def __init__(self, active="inactive", sub="dead"):
        self.active, self.sub = active, sub
        self.verbs = []

    def show(self, names):
        assert names == [TIMER]
        return [systemd.Unit(TIMER, self.active, self.sub, False, False, True, 0)]

    def systemctl(self, verb, *units):
        self.verbs.append(" ".join([verb, *units]))
        return ""


@pytest.fixture
def told(monkeypatch):
    """Put systemd into a state."""

    def be(*state):
        fake = Systemd(*state)
        monkeypatch.setattr(systemd, "show", fake.show)
        monkeypatch.setattr(systemd, "systemctl", fake.systemctl)
        return fake.verbs

    return be


@pytest.fixture
def armed(monkeypatch, tmp_path, told):
    """Arm the switch; return the arguments of systemd-run."""
    commands = []
    run = subprocess.run

    def note(command, **options):
        if command[0] == "systemd-run":
            commands.append(command)
            return subprocess.CompletedProcess(command, 0, "", "")
        return run(command, check=options.pop("check", False), **options)

    told()
    monkeypatch.setattr(subprocess, "run", note)
    script = tmp_path / "nft"
    script.write_text(f"#!/bin/sh\necho $* > {tmp_path}/called\n")
    script.chmod(0o755)
    monkeypatch.setattr(nft_table, "NFT", str(script))
    rollback_timer.arm("default", 45, tmp_path / "mcp-tunnel.nft")
    return commands[0]


def fire(command, tmp_path):
    subprocess.run(command[command.index("/bin/sh") :], check=True)
    return (tmp_path / "called").read_text().strip()


def test_it_fires_in_time_and_exactly(armed):
    assert "--on-active=45" in armed
    # Without it, systemd takes up to a minute more.
    assert "--timer-property=AccuracySec=100ms" in armed


def test_it_loads_what_is_on_disk(armed, tmp_path):
    (tmp_path / "mcp-tunnel.nft").touch()
    assert fire(armed, tmp_path) == f"-f {tmp_path}/mcp-tunnel.nft"


def test_it_removes_the_table_when_nothing_is_there(armed, tmp_path):
    assert fire(armed, tmp_path) == "delete table inet mcp_tunnel"


def test_no_switch_no_new_rules(monkeypatch, tmp_path, told):
    told()
    failed = subprocess.CompletedProcess([], 1, "", "Failed to start transient timer unit")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(TunnelError, match="Failed to start transient timer unit"):
        rollback_timer.arm("default", 45, tmp_path / "mcp-tunnel.nft")


@pytest.mark.parametrize(
    ("state", "in_time", "verbs"),
    [
        (("active", "waiting"), True, [f"stop {TIMER}"]),
        (("active", "running"), False, [f"stop {TIMER}"]),
        (("inactive", "dead"), False, []),
    ],
)
def test_disarming(told, state, in_time, verbs):
    done = told(*state)
    assert rollback_timer.disarm("default") is in_time
    assert done == verbs
