"""Verbs end, whatever the services do: tested with a systemctl that takes its time."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd

UNIT = "mcp-proxy@default.service"
ROLES = Path(__file__).parents[5] / "roles"
PROXY_UNIT = ROLES / "proxy/files/mcp-proxy@.service"

# Notes its arguments; "stop" waits until the unit was killed, unless the unit obeys.
SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$0.log"
case "$1" in
show) for name in $(echo "${2#--property=}" | tr , ' '); do echo "$name=20ms"; done ;;
kill) touch "$0.killed" ;;
stop | restart | reload) [ -e "$0.obeys" ] || [ -e "$0.killed" ] || exec sleep 60 ;;
esac
"""


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    path = tmp_path / "systemctl"
    path.write_text(SYSTEMCTL)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    # As long as one that obeys may take to start on a busy machine; the others take all of it.
    monkeypatch.setattr(systemd, "_MARGIN_SECONDS", 3.0)

    def asked():
        lines = (tmp_path / "systemctl.log").read_text().splitlines()
        return [line for line in lines if not line.startswith("show")]

    return path, asked


def test_a_service_that_obeys_is_not_killed(systemctl, monkeypatch):
    path, asked = systemctl
    monkeypatch.setattr(systemd, "_MARGIN_SECONDS", 60.0)
    path.with_name("systemctl.obeys").touch()
    assert systemd.enforce("stop", UNIT) is False
    assert asked() == [f"stop {UNIT}"]


@pytest.mark.parametrize(("verb", "again"), [("stop", "stop"), ("restart", "start")])
def test_a_service_that_asks_for_ever_more_time_is_killed(systemctl, verb, again):
    _path, asked = systemctl
    assert systemd.enforce(verb, UNIT) is True
    assert asked() == [f"{verb} {UNIT}", f"kill --signal=SIGKILL {UNIT}", f"{again} {UNIT}"]


#: Two units, the second of which has shorter limits.
SHOWN = """#!/bin/sh
for name in TimeoutStartUSec TimeoutStopUSec; do
    case $2 in *$name*) ;; *) continue ;; esac
    case $name in TimeoutStartUSec) echo "$name=5min" ;; *) echo "$name=35s" ;; esac
    echo
    echo "$name=10s"
done
"""


@pytest.mark.parametrize(("verb", "limit"), [("stop", 50), ("restart", 350), ("reload", 315)])
def test_a_verb_has_as_long_as_the_slowest_unit_may_take_for_it(
    systemctl, monkeypatch, verb, limit
):
    path, _asked = systemctl
    path.write_text(SHOWN)
    monkeypatch.setattr(systemd, "_MARGIN_SECONDS", 15.0)
    assert systemd._limit(verb, [UNIT, "other.service"]) == limit


def test_a_restart_of_the_proxy_ends_before_the_controller_gives_the_host_up():
    """After a kill there is another start; the stop is as long as the default of a drain."""
    start = re.search(r"(?m)^TimeoutStartSec=([0-9]+)$", PROXY_UNIT.read_text())
    defaults = (ROLES / "provision/defaults/main.yml").read_text()
    answer = re.search(r"(?m)^mcp_tunnel_answer_timeout: ([0-9]+)$", defaults)
    once = 60 + int(start[1]) + systemd._MARGIN_SECONDS
    assert 2 * (once + systemd._KILL_SECONDS) < int(answer[1])


def test_what_not_even_a_kill_ends_is_said(systemctl, monkeypatch):
    path, _asked = systemctl
    path.write_text(SYSTEMCTL.replace("touch", ": "))
    monkeypatch.setattr(systemd, "_KILL_SECONDS", 0.3)
    with pytest.raises(TunnelError, match="not even after SIGKILL"):
        systemd.enforce("stop", UNIT)


def test_a_reload_that_does_not_end_is_given_up(systemctl):
    _path, asked = systemctl
    assert systemd.reload(UNIT) == "its reload did not end in time"
    assert asked() == [f"reload {UNIT}", f"cancel {UNIT}"]


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("35s", 35), ("1min 35s", 95), ("1h 500ms", 3600.5), ("infinity", 90), ("", 90)],
)
def test_spans_of_time(span, seconds):
    assert systemd.seconds(span) == seconds


@pytest.mark.parametrize(
    ("lines", "down"),
    [
        ("ActiveState=inactive\nLoadState=loaded\nJob=", True),
        ("ActiveState=failed\nLoadState=loaded", True),
        ("ActiveState=inactive\nLoadState=masked", True),
        ("ActiveState=inactive\nLoadState=not-found", True),
        ("ActiveState=inactive\nLoadState=loaded\nJob=845", False),  # waits for others at boot
        ("ActiveState=activating\nLoadState=loaded", False),
        ("ActiveState=active\nLoadState=loaded", False),
        ("ActiveState=deactivating\nLoadState=loaded", False),
    ],
)
def test_which_units_do_not_come_by_themselves(monkeypatch, lines, down):
    monkeypatch.setattr(systemd, "systemctl", lambda *_arguments: f"Id={UNIT}\n{lines}\n")
    (unit,) = systemd.show([UNIT])
    assert unit.down is down
