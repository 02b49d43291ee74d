"""Playbooks against a host in FIPS mode: bare at first, in this order."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyrage
import pytest

from tests.cores.controller import Controller

_DUE = ("-e", "mcp_tunnel_cert_duration=4000h", "-e", "mcp_tunnel_cert_renew_before=3000h")
_ENCRYPTED = ("-e", "mcp_tunnel_encryption_at_rest=host", "-e", "mcp_tunnel_cert_renew_timer=true")
PROXY = "mcp-proxy@default.service"
_CONFIRMED = ("-e", "mcp_tunnel_teardown_confirmed=true", "-e", "mcp_tunnel_archive=true")


def status(controller: Controller, command: str) -> str:
    """The exit status of a command of the host."""
    return controller.shell("host1", f"{command} >/dev/null 2>&1; echo $?").strip()


@pytest.mark.parametrize(
    ("command", "works"),
    [
        ("openssl sha256 /etc/hostname", True),
        ("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", True),
        ("openssl md5 /etc/hostname", False),
        ("openssl genpkey -algorithm X25519", False),
        ("openssl enc -chacha20 -pbkdf2 -pass pass:x -in /etc/hostname", False),
    ],
)
def test_the_host_has_approved_algorithms_alone(
    controller: Controller, command: str, works: bool
) -> None:
    assert (status(controller, command) == "0") == works


def test_a_bare_host_becomes_a_replica(controller: Controller) -> None:
    assert controller.run("site").changed() > 0
    assert "through the tunnel" in controller.call("echo")


def test_a_second_run_changes_nothing(controller: Controller) -> None:
    assert controller.run("site").changed() == 0


def test_the_workers_of_the_proxy_use_the_module(controller: Controller) -> None:
    supervisor = controller.shell("host1", f"systemctl show -p MainPID --value {PROXY}").strip()
    workers = controller.shell("host1", f"pgrep -P {supervisor}").split()
    assert workers
    for worker in workers:
        used = controller.shell("host1", f"cat /proc/{worker}/maps")
        assert "/fips.so" in used
        assert "/legacy.so" not in used


@pytest.mark.parametrize(("curve", "works"), [("P-256", True), ("X25519", False)])
def test_groups_of_the_inner_tls(
    controller: Controller, tmp_path: Path, curve: str, works: bool
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text(controller.shell("host1", "cat /etc/mcp-tunnel/default/ca.crt"))
    facts = controller.facts
    domain = controller.shell("host1", "cat /var/lib/mcp-tunnel/default/tunnel-domain").strip()
    command = ["curl", "--silent", "--max-time", "60", "--curves", curve, "--cacert", str(ca)]
    command += [
        "--connect-to",
        f"echo.{domain}:443:{facts['edge_front']}",
        f"https://echo.{domain}/",
    ]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode == 0) == works, done


@pytest.mark.parametrize(
    ("playbook", "arguments"),
    [
        pytest.param(*row, id=row[0])
        for row in (
            ("renew_cert", _DUE),
            ("rotate_ca", ()),
            ("rotate_token", ("-e", "mcp_tunnel_token_rotate_reason=quarterly")),
            ("site", _ENCRYPTED),
        )
    ],
)
def test_a_duty(controller: Controller, playbook: str, arguments: tuple[str, ...]) -> None:
    assert controller.run(playbook, *arguments).changed() > 0
    assert "through the tunnel" in controller.call("echo")


def test_the_host_renews_its_certificate_with_keys_that_are_encrypted_at_rest(
    controller: Controller,
) -> None:
    document = json.loads(controller.shell("host1", "mcp-tunnel status --json"))
    (instance,) = document["instances"]
    assert {instance["secrets"][name] for name in ("token", "key", "ca_key")} == {"host"}
    certificate = "/etc/mcp-tunnel/default/tls/tls.crt"
    assert status(controller, f"mv {certificate} {certificate}.old") == "0"
    assert status(controller, "systemctl start mcp-tunnel-renew-cert@default.service") == "0"
    assert status(controller, f"test -s {certificate}") == "0"


def test_a_backup(controller: Controller, tmp_path: Path) -> None:
    """Age's algorithms are not OpenSSL's."""
    identity = pyrage.x25519.Identity.generate()
    given = {
        "mcp_tunnel_backup_recipients": [str(identity.to_public())],
        "mcp_tunnel_backup_dest": str(tmp_path),
        "mcp_tunnel_state_is_persistent": True,
    }
    controller.run("backup", *_ENCRYPTED, "-e", json.dumps(given))
    (backup,) = tmp_path.glob("*.age")
    assert pyrage.decrypt(backup.read_bytes(), [identity])


def test_the_end(controller: Controller) -> None:
    assert controller.run("teardown", *_CONFIRMED).changed() > 0
    left = 'find /etc /opt /run /usr/local -xdev -path "*mcp-tunnel*"'
    assert controller.shell("host1", left) == ""
