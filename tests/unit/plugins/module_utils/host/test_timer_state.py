from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd, timer_state

NAME = "mcp-tunnel-renew-cert@default"
TIMER, SERVICE = f"{NAME}.timer", f"{NAME}.service"
OTHER = "wanted.service"


class Systemd:
    """A systemd that has a timer and its service in the given states, and notes the verbs."""

    def __init__(self, timer, service="inactive", reload_of=()):
        self.active = {TIMER: timer, SERVICE: service, OTHER: "inactive"}
        self.reload_of = reload_of
        self.verbs = []

    def show(self, names):
        return [
            systemd.Unit(
                name=name,
                active=self.active[name],
                sub="",
                enabled=False,
                needs_reload=name in self.reload_of,
                loaded=True,
                restarts=0,
            )
            for name in names
        ]

    def systemctl(self, verb, *units):
        self.verbs.append(" ".join([verb, *units]))
        return ""


@pytest.mark.parametrize(
    ("fake", "wanted", "actions", "verbs"),
    [
        (Systemd("active"), True, [], []),
        (Systemd("active", "activating"), True, [], []),
        (Systemd("inactive"), False, [], []),
        (Systemd(""), False, [], []),
        (
            Systemd("inactive"),
            True,
            [f"{TIMER} started: it was inactive"],
            ["daemon-reload", f"restart {TIMER}"],
        ),
        (
            Systemd("active", reload_of=[SERVICE]),
            True,
            [f"{TIMER} started: its units changed"],
            ["daemon-reload", f"restart {TIMER}"],
        ),
        (Systemd("active"), False, [f"{TIMER} stopped"], [f"stop {TIMER}", "daemon-reload"]),
        (
            Systemd("active", "activating"),
            False,
            [f"{TIMER} stopped", f"{SERVICE} stopped"],
            [f"stop {TIMER} {SERVICE}", "daemon-reload"],
        ),
        (
            Systemd("inactive", "failed"),
            False,
            [f"{SERVICE} forgotten"],
            [f"reset-failed {SERVICE}", "daemon-reload"],
        ),
    ],
)
def test_what_is_done(monkeypatch, fake, wanted, actions, verbs):
    monkeypatch.setattr(systemd, "show", fake.show)
    monkeypatch.setattr(systemd, "systemctl", fake.systemctl)
    assert timer_state.ensure(NAME, wanted, check_mode=True) == actions
    assert fake.verbs == []
    assert timer_state.ensure(NAME, wanted, check_mode=False) == actions
    assert fake.verbs == verbs


def test_a_service_that_its_own_wants_is_the_timers_too(monkeypatch):
    def ensure(wanted, other, reload_of=()):
        fake = Systemd("active", reload_of=reload_of)
        fake.active[OTHER] = other
        monkeypatch.setattr(systemd, "show", fake.show)
        monkeypatch.setattr(systemd, "systemctl", fake.systemctl)
        return timer_state.ensure(NAME, wanted, False, (OTHER,)), fake.verbs

    assert ensure(True, "activating") == ([], [])
    assert ensure(True, "failed") == ([], [])
    assert ensure(True, "inactive", [OTHER])[1] == ["daemon-reload", f"restart {TIMER}"]
    assert ensure(False, "failed")[1] == [
        f"stop {TIMER}", f"reset-failed {OTHER}", "daemon-reload",
    ]  # fmt: skip


SOCKET = "mcp-tunnel-signing-default.socket"


@pytest.mark.parametrize(
    ("timer", "socket", "reload_of", "wanted", "verbs"),
    [
        ("active", "active", [], True, []),
        ("inactive", "inactive", [], True, ["daemon-reload", "restart SOCKET", "restart TIMER"]),
        ("active", "failed", [], True, ["daemon-reload", "restart SOCKET"]),
        ("active", "active", ["SOCKET"], True, ["daemon-reload", "restart SOCKET"]),
        ("active", "active", ["SERVICE"], True, ["daemon-reload", "restart TIMER"]),
        ("inactive", "inactive", [], False, []),
        (
            *("active", "active", [], False),
            ["stop TIMER SOCKET mcp-tunnel-signing-default@*", "daemon-reload"],
        ),
    ],
)
def test_a_socket_listens_before_the_timer_runs_and_ends_with_what_it_has_started(
    monkeypatch, timer, socket, reload_of, wanted, verbs
):
    names = {"SOCKET": SOCKET, "TIMER": TIMER, "SERVICE": SERVICE}
    fake = Systemd(timer, reload_of=[names[name] for name in reload_of])
    fake.active[SOCKET] = socket
    monkeypatch.setattr(systemd, "show", fake.show)
    monkeypatch.setattr(systemd, "systemctl", fake.systemctl)
    timer_state.ensure(NAME, wanted, False, socket=SOCKET)
    for name, unit in names.items():
        verbs = [verb.replace(name, unit) for verb in verbs]
    assert fake.verbs == verbs
