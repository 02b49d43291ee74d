"""Playbooks with a version of ansible-core, against real hosts: bare at first, in this order.

``python -m stages.cores`` takes what is in brackets in a test's name for that of a run.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from stages import cores

from .controller import Controller, secret_lines

#: Certificates that live shorter than before are due.
_DUE = ("-e", "mcp_tunnel_cert_duration=4000h", "-e", "mcp_tunnel_cert_renew_before=3000h")
_CONFIRMED = ("-e", "mcp_tunnel_teardown_confirmed=true", "-e", "mcp_tunnel_archive=true")


def test_versions_that_this_machine_has_no_python_for() -> None:
    if missing := sorted(cores.PYTHONS.keys() - set(cores.here())):
        needed = ", ".join(f"{core} (Python {cores.PYTHONS[core][0]})" for core in missing)
        pytest.skip(f"no Python for ansible-core {needed}")


def test_the_environment_has_the_version(core: str, controller: Controller) -> None:
    """And its own locked libraries."""
    (release,) = controller.environment.glob("lib/python3.*/site-packages/ansible_core-*.dist-info")
    assert release.name.startswith(f"ansible_core-{core}.")


def test_the_secrets_that_are_looked_for() -> None:
    """A line of a key may look like the beginning of a token."""
    like = f"MIGH{'eyJb'.ljust(60, 'x')}"
    key = f"-----BEGIN PRIVATE KEY-----\n{like}\nsecond\nthird\n-----END PRIVATE KEY-----\n"
    token = base64.b64encode(json.dumps({"a": "account", "t": "id", "s": "secret"}).encode())
    text = f"{key}{key.replace('second', 'another')}{token.decode()}\n"
    assert secret_lines(text) == {like, "second", "another", token.decode(), "secret"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("run", ["site, check of bare hosts"])
def test_a_check_changes_nothing(controller: Controller, run: str) -> None:
    assert controller.run("site", "--check").changed() > 0
    assert controller.shell("host1", "ls -d /etc/mcp-tunnel /opt/mcp-tunnel 2>/dev/null") == ""


@pytest.mark.parametrize("run", ["site"])
def test_bare_hosts_become_replicas(controller: Controller, run: str) -> None:
    assert controller.run("site").changed() > 0
    assert "through the tunnel" in controller.call("echo")


@pytest.mark.parametrize("run", ["site, again"])
def test_a_second_run_changes_nothing(controller: Controller, run: str) -> None:
    assert controller.run("site").changed() == 0


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("playbook", "arguments", "changes"),
    [
        pytest.param(*row, id=row[0])
        for row in (
            ("verify", (), False),
            ("drift", ("--check",), False),
            ("renew_cert", _DUE, True),
            ("rotate_token", ("-e", "mcp_tunnel_token_rotate_reason=quarterly"), True),
            ("rotate_ca", (), True),
            ("drain", ("-e", '{"mcp_tunnel_drain": ["host2"]}'), True),
            ("undrain", (), True),
            ("reboot", ("-e", "mcp_tunnel_drain_reason=kernel"), True),
        )
    ],
)
def test_a_duty(
    controller: Controller, playbook: str, arguments: tuple[str, ...], changes: bool
) -> None:
    assert (controller.run(playbook, *arguments).changed() > 0) == changes
    assert "through the tunnel" in controller.call("echo")


@pytest.mark.exhaustive
@pytest.mark.parametrize("playbook", ["support"])
def test_archives_of_all_hosts(controller: Controller, playbook: str, tmp_path: Path) -> None:
    controller.run(playbook, "-e", f"mcp_tunnel_support_dest={tmp_path}")
    assert {path.name.partition("-")[0] for path in tmp_path.glob("*.gz")} == set(controller.hosts)


@pytest.mark.exhaustive
@pytest.mark.parametrize("run", ["site, another route"])
def test_a_route_more(controller: Controller, run: str) -> None:
    upstream = controller.facts["upstreams"]["echo"]
    routes = {"echo": upstream, "second": upstream}
    given = ("-e", json.dumps({"mcp_tunnel_routes": routes}))
    assert controller.run("site", *given).changed() > 0
    assert "through the tunnel" in controller.call("second")


@pytest.mark.parametrize("playbook", ["teardown"])
def test_the_end(controller: Controller, playbook: str) -> None:
    assert controller.run(playbook, *_CONFIRMED).changed() > 0
    for host in controller.hosts:
        assert controller.shell(host, 'systemctl list-units --all --no-legend "mcp-*"') == ""
        left = 'find /etc /opt /run /usr/local -xdev -path "*mcp-tunnel*"'
        assert controller.shell(host, left) == ""
