"""The code that a unit's processes run, as it is seen from outside."""

from __future__ import annotations

import os

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import running_code, systemd

UNIT = "mcp-proxy@default.service"
TICKS = os.sysconf("SC_CLK_TCK")


class Host:
    """A /proc with the processes of a unit, and two releases of the proxy."""

    def __init__(self, directory):
        self.proc = directory / "proc"
        self.proc.mkdir()
        (self.proc / "uptime").write_text("1000.00 1.00\n")
        self.releases = directory / "opt" / "proxy"
        self.interpreter = directory / "python3.11"
        self.interpreter.write_text("")
        for version in ("1", "2"):
            (self.releases / version / "bin").mkdir(parents=True)
            (self.releases / version / "lib").mkdir()
            script = self.releases / version / "bin" / "mcp-proxy"
            script.write_text(f"#!{self.interpreter} -IS\n")

    def process(self, pid, *releases, program="", unit=UNIT, began=0.0):
        path = self.proc / str(pid)
        path.mkdir()
        (path / "cgroup").write_text(f"0::/system.slice/x.slice/{unit}\n")
        (path / "exe").symlink_to(program or self.interpreter)
        maps = [f"7f00-7f01 r-xp 00000000 fe:00 1   {self.releases}/{r}/lib/a.so" for r in releases]
        maps += ["7f02-7f03 r--p 00000000 fe:00 1   /opt/data", "7f04-7f05 r-xp 00000000 00:00 0"]
        (path / "maps").write_text("\n".join(maps) + "\n")
        fields = ["S", *["0"] * 18, str(int(began * TICKS)), "0"]
        (path / "stat").write_text(f"{pid} (a) name) {' '.join(fields)}\n")

    def problem(self, version="2"):
        return running_code.problem(UNIT, self.releases / version, self.proc)


@pytest.fixture
def host(tmp_path, monkeypatch):
    shown = "MainPID=10\nTimeoutStopUSec=1min 5s\n"
    monkeypatch.setattr(systemd, "systemctl", lambda verb, *arguments: shown)
    return Host(tmp_path)


def test_all_of_the_release(host):
    host.process(10, "2")
    host.process(11, "2", began=5)
    host.process(12, "1", unit="mcp-proxy@other.service")
    assert host.problem() == ""
    assert host.problem("1") == "its main process 10 runs release 2, not 1"


def test_an_interpreter_that_its_package_has_replaced(host):
    host.process(10, "2", program=f"{host.interpreter} (deleted)")
    assert host.problem() == ""


def test_no_main_process(host):
    host.process(11, "2")
    assert host.problem() == "its main process is not there"


def test_a_main_process_that_has_loaded_nothing(host):
    host.process(10)
    assert host.problem() == "its main process 10 runs nothing of any release, not 2"


def test_another_program(host):
    host.process(10, "2", program="/usr/bin/socat")
    assert host.problem() == "its main process 10 runs /usr/bin/socat"


def test_another_program_beside_it(host):
    host.process(10, "2")
    host.process(11, "2", program="/memfd:x (deleted)")
    assert host.problem() == "its process 11 runs /memfd:x"


def test_workers_of_before_may_finish_as_long_as_the_unit_may_take_to_stop(host):
    host.process(10, "2", began=100)
    host.process(11, "1", began=101)
    host.process(20, "2", began=1000 - 60)
    assert host.problem() == ""
    (host.proc / "uptime").write_text("1006.00 1.00\n")
    assert host.problem() == "its process 11 still runs release 1"


def test_old_code_that_nobody_has_taken_over_from(host):
    host.process(10, "2", began=100)
    host.process(11, "1", began=999)
    assert host.problem() == "its process 11 still runs release 1"


def test_a_process_with_the_code_of_both(host):
    """A process that has loaded the new code beside the old has not let go of the old."""
    host.process(10, "1", "2")
    assert host.problem() == "its process 10 still runs release 1"


def test_a_binary_is_its_own_program(host, monkeypatch):
    binary = host.releases / "2" / "bin" / "mcp-proxy"
    binary.write_bytes(b"\x7fELF")
    host.process(10, program=binary)
    assert host.problem() == ""
    assert host.problem("1").startswith("its main process 10 runs ")
