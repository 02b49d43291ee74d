"""Secrets that are encrypted on the disks of the hosts, by the systemd of each of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from backups import Operator
from replicas import (
    HOSTS,
    LAB_NAME,
    TOGETHER,
    await_connections,
    killed_after_a_change,
    lab,
    play,
    recap,
    shell,
)
from secrets_search import found, on_no_disk

TIMER = (*TOGETHER, "-e", "mcp_tunnel_cert_renew_timer=true")
ENCRYPTED = (*TIMER, "-e", "mcp_tunnel_encryption_at_rest=auto")
RENEWAL = "mcp-tunnel-renew-cert@default.service"
UNIT = "mcp-cloudflared@default.service"
TOKEN = "/etc/mcp-tunnel/default/tunnel-token"
KEY, CERTIFICATE = (f"/etc/mcp-tunnel/default/tls/tls.{end}" for end in ("key", "crt"))
STATE = "/var/lib/mcp-tunnel/default"
CA_KEY = f"{STATE}/ca.key"
SECRET = "/var/lib/systemd/credential.secret"
CREDS = "/usr/bin/systemd-creds"
WRITTEN = "mcp_tunnels.stack.cloudflared : Write settings, units and the tunnel token"
FORMER = "find /etc /var/lib -name '20-former-secret.conf' -o -name '.*.former.mcp-tunnel'"


def serves_after_a_cut(*arguments: str) -> str:
    """Kill the run that changes the form of secrets half-way, and reboot the state host.

    Returns the output of the run.
    """
    told: list[str] = []
    killed_after_a_change(*arguments, tasks=[f"{WRITTEN} on {HOSTS[0]}"], told=told)
    host = shell(HOSTS[0])
    assert host.check_output(FORMER).splitlines()
    lab("host", LAB_NAME, "reboot", HOSTS[0])
    deadline = time.monotonic() + 240  # at most; the machine may be busy
    while host.run(f"systemctl is-active mcp-proxy@default {UNIT}").rc != 0:
        assert time.monotonic() < deadline, host.run("systemctl --failed").stdout
        time.sleep(0.5)
    await_connections(HOSTS[0])
    return told[0]


@pytest.fixture(scope="module")
def encrypting(planted: dict[str, list[str]]) -> Iterator[str]:
    """The output of the run that encrypts; in the end everything is in clear again."""
    cut = serves_after_a_cut(*ENCRYPTED, "--diff")
    done = play(*ENCRYPTED, "--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    yield cut + done.stdout
    serves_after_a_cut(*TIMER)
    renew(HOSTS[0])
    done = play(*TOGETHER)
    assert done.returncode == 0, done.stdout[-3000:]
    for name in HOSTS:
        assert shell(name).check_output(FORMER) == "", name
        assert shell(name).file(TOKEN).content_string.startswith("eyJ"), name
        assert shell(name).file(KEY).content_string.startswith("-----BEGIN"), name
    assert shell(HOSTS[0]).file(CA_KEY).content_string.startswith("-----BEGIN")


def test_no_secret_is_in_any_file_of_a_disk(planted: dict[str, list[str]], encrypting: str) -> None:
    on_no_disk(planted)
    for needles in planted.values():
        assert found(needles, encrypting) == []
    assert "encryption: host" in encrypting
    assert "encrypted" in lab("call", LAB_NAME, "echo", "echo", '{"text": "encrypted"}')


def test_a_state_that_is_put_back_is_encrypted_again(
    planted: dict[str, list[str]], encrypting: str, tmp_path: Path
) -> None:
    """From a backup, which has it under the operator's key and not under that of the host."""
    operator = Operator(tmp_path, mcp_tunnel_encryption_at_rest="host")
    operator.run("backup")
    (backup,) = operator.backups()
    assert operator.opened(backup.read_text())["state/ca.key"].startswith(b"-----BEGIN")
    host = shell(HOSTS[0])
    host.check_output(f"rm -r {STATE}")
    operator.run("restore", "-e", f"mcp_tunnel_backup_file={backup}")
    assert not host.file(CA_KEY).content_string.startswith("-----BEGIN")
    assert host.check_output(f"{CREDS} decrypt --name=ca.key {CA_KEY} -").startswith("-----BEGIN")
    host.check_output(f"rm -f {STATE}/copies.json")
    on_no_disk(planted)
    for needles in planted.values():
        assert found(needles, operator.output + backup.read_text()) == []


def test_the_second_run_changes_nothing(encrypting: str) -> None:
    done = play(*ENCRYPTED)
    assert done.returncode == 0, done.stdout[-3000:]
    assert {counters["changed"] for counters in recap(done.stdout).values()} == {0}


def test_replicas_renew_by_themselves_and_keep_their_keys(
    planted: dict[str, list[str]], encrypting: str
) -> None:
    """systemd hands its key to the renewal, and the CA's to the signer of the state host."""
    for name in HOSTS:
        host = shell(name)
        key, process = host.file(KEY).content, main_process(name)
        renew(name)
        assert host.file(KEY).content == key, name
        assert main_process(name) == process, name
    on_no_disk(planted)
    assert play(playbook="verify").returncode == 0


def renew(name: str) -> None:
    host = shell(name)
    host.check_output(f"mv {CERTIFICATE} {CERTIFICATE}.old")
    host.check_output(f"systemctl start {RENEWAL} && rm {CERTIFICATE}.old")
    assert host.file(CERTIFICATE).exists, name


def main_process(name: str) -> str:
    return shell(name).check_output("systemctl show --property=MainPID mcp-proxy@default.service")


def test_a_disk_without_the_secret_of_its_host_is_worth_nothing(encrypting: str) -> None:
    """As after the restore of an image that leaves the secret out; the next run makes a new one."""
    name = HOSTS[-1]
    host = shell(name)
    host.check_output(f"mv {SECRET} /run/secret && (systemctl restart {UNIT} || true)")
    assert "status=243/CREDENTIALS" in host.run(f"systemctl status {UNIT}").stdout
    done = play("-e", "mcp_tunnel_health_timeout=5", playbook="verify")
    assert done.returncode != 0
    assert "cannot give it its credential" in done.stdout
    host.check_output(f"rm {KEY} {CERTIFICATE}")
    done = play(*ENCRYPTED, "--limit", name)
    assert done.returncode == 0, done.stdout[-3000:]
    assert host.file(SECRET).exists
    assert "again" in lab("call", LAB_NAME, "echo", "echo", '{"text": "again"}')


def test_a_flipped_byte_of_the_ca_s_key_is_one_clear_error(encrypting: str) -> None:
    host = shell(HOSTS[0])
    content = host.file(CA_KEY).content_string
    place = len(content) // 2
    flipped = "A" if content[place] != "A" else "B"
    host.check_output(
        f"cp -p {CA_KEY} /run/kept && printf {flipped} |"
        f" dd of={CA_KEY} bs=1 seek={place} conv=notrunc status=none"
    )
    try:
        done = play(*ENCRYPTED)
    finally:
        host.check_output(f"cp -p /run/kept {CA_KEY}")
    assert done.returncode != 0
    assert f"{CA_KEY}: cannot be decrypted" in done.stdout
    assert "restore.yml" in done.stdout
    assert recap(done.stdout)[HOSTS[-1]]["changed"] == 0


def test_a_host_that_cannot_encrypt_is_refused_before_any_change(encrypting: str) -> None:
    """As one with an older systemd, which has no such command."""
    host = shell(HOSTS[-1])
    host.check_output(f"mv {CREDS} {CREDS}.away")
    try:
        done = play(*TIMER, "-e", "mcp_tunnel_encryption_at_rest=host")
        warned = play(*ENCRYPTED, "--check", "--limit", HOSTS[-1])
    finally:
        host.check_output(f"mv {CREDS}.away {CREDS}")
    assert done.returncode != 0
    assert "mcp_tunnel_encryption_at_rest: is host, which needs systemd 250" in done.stdout
    assert {counters["changed"] for counters in recap(done.stdout).values()} == {0}
    assert "stay in clear on its disk" in warned.stdout + warned.stderr
