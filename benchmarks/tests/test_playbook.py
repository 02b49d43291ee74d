"""The census against real ansible-playbook runs on the controller."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks import BenchError
from benchmarks.playbook import count, run_playbook, timed

_PLAYBOOK = """\
- hosts: all
  gather_facts: false
  tasks:
    - name: No module
      ansible.builtin.debug: {msg: hello}
    - name: One module per item
      ansible.builtin.command: {argv: [/bin/true, "{{ item }}"]}
      loop: [1, 2, 3]
      changed_when: false
    - name: One host only
      ansible.builtin.ping: {}
      when: inventory_hostname == "one"
    - name: A change
      ansible.builtin.command: {argv: [/bin/true]}
      when: inventory_hostname == "two"
"""
_INVENTORY = """\
all:
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  hosts: {one: {}, two: {}}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "play.yml").write_text(_PLAYBOOK)
    (tmp_path / "inventory.yml").write_text(_INVENTORY)
    return tmp_path


def test_a_real_run_is_counted(files: Path) -> None:
    seconds, census = run_playbook(str(files / "play.yml"), str(files / "inventory.yml"), 60)
    assert seconds > 0
    assert (census.tasks_per_host, census.skipped_per_host) == (3, 1)
    # connection "local" is the controller: 3 items on two hosts, one ping, one command
    assert (census.modules_on_controller, census.modules_per_host) == (8, 0)
    assert census.changed == ["two: A change"]


def test_delegations_count_where_they_run() -> None:
    everywhere = [f'{{"module": "setup", "host": "10.77.0.{n}"}}' for n in (11, 12, 13)]
    delegated = ['{"module": "sign", "host": "10.77.0.11"}'] * 3
    census = count(
        [
            *everywhere,
            *delegated,
            '{"module": "stat", "host": "controller"}',
            '{"task": "ok", "host": "a", "name": "x"}',
        ]
    )
    assert (census.modules_per_host, census.modules_on_busiest) == (1, 4)
    assert census.modules_on_controller == 1
    assert (census.tasks_per_host, census.skipped_per_host) == (1, 0)


def test_a_failing_run_gives_no_figure_but_its_output(files: Path) -> None:
    (files / "play.yml").write_text("- hosts: all\n  tasks: [{fail: {msg: it broke}}]\n")
    with pytest.raises(BenchError, match=r"(?s)ended with 2:.*it broke"):
        run_playbook(str(files / "play.yml"), str(files / "inventory.yml"), 60)


def test_a_run_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(BenchError, match=r"ended with a time-out of 1 s"):
        timed(["sh", "-c", script], 1)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 120  # the signal is sent; the kernel chooses when it acts
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
