"""The ends of the present connection, by a /proc that a test has written, and by the real one."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import session

LINE = "   0: 0100007F:{port:04X} 0200007F:D431 {state} 0:0 0:0 0 0 0 {inode} 1 0 20 4 30 10 -1\n"


@pytest.fixture
def proc(tmp_path):
    """Processes 1, 10 (sshd), 20 (sudo) and 30, each started by the one before."""
    for pid, parent, name in (
        (1, 0, "init"),
        (10, 1, "sshd) (x"),
        (20, 10, "sudo"),
        (30, 20, "sh"),
    ):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0\n")
    (tmp_path / "net").mkdir()
    (tmp_path / "10" / "fd" / "3").symlink_to("socket:[77]")
    return tmp_path


def test_the_port_at_which_sshd_has_the_connection(proc):
    lines = LINE.format(port=2022, state="01", inode=77) + LINE.format(port=80, state="01", inode=7)
    (proc / "net" / "tcp").write_text("header\n" + lines)
    assert session.connections(proc, 30) == {session.Connection(2022, "127.0.0.2")}
    assert session.connections(proc, 10) == set(), "its own do not count"


@pytest.mark.parametrize("table", ["tcp", "tcp6"])
def test_a_socket_that_listens_is_no_connection(proc, table):
    (proc / "net" / table).write_text("header\n" + LINE.format(port=22, state="0A", inode=77))
    assert session.connections(proc, 30) == set()


@pytest.mark.parametrize(
    ("digits", "peer"),
    [
        ("B80D0120000000000000000001000000", "2001:db8::1"),
        ("0000000000000000FFFF00000200007F", "127.0.0.2"),
    ],
)
def test_a_connection_of_a_socket_for_ipv6(proc, digits, peer):
    line = LINE.replace("0200007F", digits).format(port=22, state="01", inode=77)
    (proc / "net" / "tcp6").write_text("header\n" + line)
    assert session.connections(proc, 30) == {session.Connection(22, peer)}


def test_a_connection_that_this_process_has_passed_on():
    """The kernel's own /proc: a child finds the connection of its parent."""
    code = (
        "from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import session\n"
        "print(sorted((each.port, each.peer) for each in session.connections()))"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            accepted, _address = server.accept()
            with accepted:
                ports = {client.getsockname()[1], accepted.getsockname()[1]}
                environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
                done = subprocess.run(
                    [sys.executable, "-c", code],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                )
    found = ast.literal_eval(done.stdout)
    assert {(port, "127.0.0.1") for port in ports} <= set(found)
