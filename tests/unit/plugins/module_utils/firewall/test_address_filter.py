"""Whether IPAddressDeny= is enforced, with a systemd-run that behaves in all possible ways."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import address_filter

# It drops the options and runs the command as it is, like a kernel that enforces nothing.
UNFILTERED = 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"'


@pytest.mark.parametrize(
    ("script", "expected"),
    [(UNFILTERED, False), ("exit 77", True), ("exit 0", None), ("exit 1", None)],
    ids=["the datagram arrives", "it is refused", "it is lost", "no unit could be run"],
)
def test_what_is_concluded(tmp_path, monkeypatch, script, expected):
    command = tmp_path / "systemd-run"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert address_filter.enforced() is expected


def test_a_host_without_systemd(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert address_filter.enforced() is None


def test_a_host_whose_loopback_loses_datagrams(monkeypatch):
    monkeypatch.setattr(address_filter.socket.socket, "sendto", lambda *_: 1)
    assert address_filter.enforced() is None
