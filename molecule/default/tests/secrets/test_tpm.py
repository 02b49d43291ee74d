"""Secrets that are encrypted with a key of the TPM of each host."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator

import pytest
from replicas import (
    CHECKOUT,
    HOSTS,
    LAB_NAME,
    TOGETHER,
    await_connections,
    lab,
    play,
    recap,
    shell,
)
from secrets_search import found, on_no_disk

RUN = (*TOGETHER, "-e", "mcp_tunnel_cert_renew_timer=true")
BY_TPM = (*RUN, "-e", "mcp_tunnel_encryption_at_rest=tpm2")
RENEWAL = "mcp-tunnel-renew-cert@default.service"
UNIT = "mcp-cloudflared@default.service"
TOKEN = "/etc/mcp-tunnel/default/tunnel-token"
KEY, CERTIFICATE = (f"/etc/mcp-tunnel/default/tls/tls.{end}" for end in ("key", "crt"))
CA_KEY = "/var/lib/mcp-tunnel/default/ca.key"
# The first bytes of a credential that a TPM encrypts (systemd, src/shared/creds-util.h).
BY_A_TPM = bytes.fromhex("0c7cc07b117645919c4b0bea08bc20fe")
SHOWN = {"state": "ok", "error": "", "token": "tpm2", "key": "tpm2"}

# systemd takes the name of a device, for its tests, as well in its own environment as in that of
# its commands; sudo gives it to those. The state of the TPM is on the disk, as that of a machine
# is not.
DEVICE = "SYSTEMD_TPM2_DEVICE=mssim:host=127.0.0.1,port=2321"
SERVICE = """[Unit]
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target
[Service]
StateDirectory=tpm
ExecStart=python3 /usr/local/sbin/tpm
[Install]
WantedBy=sysinit.target
"""
FILES = {
    "/usr/local/sbin/tpm": (CHECKOUT / "molecule/shared/tpm.py").read_text(),
    "/etc/systemd/system/tpm.service": SERVICE,
    "/etc/systemd/system.conf.d/tpm.conf": f"[Manager]\nManagerEnvironment={DEVICE}\n",
    "/etc/default/tpm": f"{DEVICE}\n",
    "/etc/sudoers.d/tpm": "Defaults env_file=/etc/default/tpm\n",
}


@pytest.fixture(scope="module")
def refused() -> str:
    """The output of a run for hosts that have no TPM."""
    done = play(*BY_TPM)
    assert done.returncode != 0
    assert {counters["changed"] for counters in recap(done.stdout).values()} == {0}
    return done.stdout


@pytest.fixture(scope="module")
def encrypting(refused: str, planted: dict[str, list[str]]) -> Iterator[str]:
    """The output of the run that encrypts; in the end everything is in clear again."""
    for name in HOSTS:
        for path, content in FILES.items():
            code = base64.b64encode(content.encode()).decode()
            put = f"install -D -m 644 /dev/stdin {path}"
            shell(name).check_output(f"echo {code} | base64 -d | {put}")
        shell(name).check_output("systemctl daemon-reexec && systemctl enable --now tpm")
    # By another key first: it is one run from one key to the other, too.
    for key in ("host", "tpm2"):
        done = play(*RUN, "-e", f"mcp_tunnel_encryption_at_rest={key}", "--diff")
        assert done.returncode == 0, done.stdout[-3000:]
    yield done.stdout
    done = play(*TOGETHER)
    assert done.returncode == 0, done.stdout[-3000:]
    for name in HOSTS:
        assert shell(name).file(KEY).content_string.startswith("-----BEGIN"), name
        shell(name).check_output(f"systemctl disable --now tpm && rm -r {' '.join(FILES)}")
        shell(name).check_output("systemctl daemon-reexec")


def test_hosts_without_a_tpm_are_refused_before_any_change(refused: str) -> None:
    assert "mcp_tunnel_encryption_at_rest: is tpm2, which needs a TPM2 that systemd" in refused


def test_no_secret_is_in_any_file_of_a_disk(planted: dict[str, list[str]], encrypting: str) -> None:
    on_no_disk(planted)
    for needles in planted.values():
        assert found(needles, encrypting) == []
    for name, paths in {HOSTS[0]: (TOKEN, KEY, CA_KEY), HOSTS[-1]: (TOKEN, KEY)}.items():
        for path in paths:
            content = base64.b64decode(shell(name).file(path).content)
            assert content.startswith(BY_A_TPM), (name, path)
        (told,) = json.loads(shell(name).run("mcp-tunnel status --json").stdout)["instances"]
        of_ca = "tpm2" if name == HOSTS[0] else ""
        assert told["secrets"] == {**SHOWN, "ca_key": of_ca}, name


def test_replicas_serve_and_renew_after_a_reboot(encrypting: str) -> None:
    for name in HOSTS:
        lab("host", LAB_NAME, "reboot", name)
    for name in HOSTS:
        host = shell(name)
        deadline = time.monotonic() + 240  # at most; the machine may be busy
        while host.run(f"systemctl is-active mcp-proxy@default {UNIT}").rc != 0:
            assert time.monotonic() < deadline, host.run("systemctl --failed").stdout
            time.sleep(0.5)
        host.check_output(f"mv {CERTIFICATE} {CERTIFICATE}.old")
        host.check_output(f"systemctl start {RENEWAL} && rm {CERTIFICATE}.old")
        assert host.file(CERTIFICATE).exists, name
        await_connections(name)
    assert "encrypted" in lab("call", LAB_NAME, "echo", "echo", '{"text": "encrypted"}')


def test_disks_are_worth_nothing_beside_another_tpm(encrypting: str) -> None:
    """As in another machine, or with a cleared TPM. A replica comes back from the next run."""
    state, replica = shell(HOSTS[0]), shell(HOSTS[-1])
    for host in (state, replica):
        host.check_output("systemctl stop tpm && mv /var/lib/tpm /root/ && systemctl start tpm")
    replica.run(f"systemctl restart {UNIT}")
    assert "status=243/CREDENTIALS" in replica.run(f"systemctl status {UNIT}").stdout
    done = play(*BY_TPM)
    assert done.returncode != 0
    assert f"{CA_KEY}: cannot be decrypted" in done.stdout
    assert "its TPM was cleared" in done.stdout
    assert {counters["changed"] for counters in recap(done.stdout).values()} == {0}
    state.check_output("systemctl stop tpm && rm -r /var/lib/tpm && mv /root/tpm /var/lib/")
    state.check_output("systemctl start tpm")
    replica.check_output(f"rm -r {KEY} {CERTIFICATE} /root/tpm")
    done = play(*BY_TPM)
    assert done.returncode == 0, done.stdout[-3000:]
    assert recap(done.stdout)[HOSTS[0]]["changed"] == 0
    assert "again" in lab("call", LAB_NAME, "echo", "echo", '{"text": "again"}')
