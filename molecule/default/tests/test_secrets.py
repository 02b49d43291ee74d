"""A planted token and the keys appear nowhere where somebody could read them."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from replicas import HOSTS, LAB, lab, recap, shell, site


def key_lines(name: str) -> list[str]:
    """Return the lines of a host's private keys that hold secret bytes: any of them is a leak.

    A PKCS #8 P-256 key has three lines; the third holds the end of the public point only, which
    stands in certificates, too.
    """
    text = shell(name).check_output(
        "cat /etc/mcp-tunnel/default/tls/tls.key /var/lib/mcp-tunnel/default/ca.key 2>/dev/null"
        " || true"
    )
    keys = text.split("-----BEGIN PRIVATE KEY-----")[1:]
    return [line for key in keys for line in key.split()[:2]]


@pytest.fixture(scope="module")
def planted() -> list[str]:
    """Everything that must not be seen: token, its secret in both codings, keys."""
    token = Path(LAB["tunnel_token_file"]).read_text().strip()
    secret = json.loads(base64.b64decode(token))["s"]
    needles = [token, token.rstrip("="), secret, base64.b64decode(secret).hex()]
    for name in HOSTS:
        needles += key_lines(name)
    assert len(needles) == 4 + 2 * (len(HOSTS) + 1)  # the CA's key, too
    return needles


def found(needles: list[str], haystack: str) -> list[int]:
    """Return which needles the text holds, by number: a failing test must not print them."""
    squeezed = re.sub(r"\s+", "", haystack)
    return [
        number for number, needle in enumerate(needles) if needle in haystack or needle in squeezed
    ]


def test_not_on_the_hosts(planted: list[str]) -> None:
    for name in HOSTS:
        host = shell(name)
        for command in (
            "journalctl --no-pager --output=export",
            "ps -eo args e",
            "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' || true",
            "systemctl show '*' --all --no-pager",
            "systemctl cat 'mcp-*' --no-pager",
            "cat /etc/mcp-tunnel/default/cloudflared.env /etc/mcp-tunnel/default/proxy.yaml",
            # what Ansible left behind
            "find /root/.ansible /home/ops/.ansible /tmp /var/tmp -type f -exec cat {} + || true",
        ):
            output = host.run(command).stdout
            assert found(planted, output) == [], (name, command)


def test_not_in_the_output_of_a_run_that_handles_them(planted: list[str]) -> None:
    """A run that has to write token, key and certificate anew, as loud as it gets."""
    for name in HOSTS:
        shell(name).check_output(
            "rm -f /etc/mcp-tunnel/default/tunnel-token /etc/mcp-tunnel/default/tls/tls.crt"
        )
    done = site("-vvv", "--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] > 0 for counters in recap(done.stdout).values())
    new_keys = [line for name in HOSTS for line in key_lines(name)]
    assert found(planted + new_keys, done.stdout + done.stderr) == []


def test_a_rotated_token_arrives_and_the_old_one_is_refused(planted: list[str]) -> None:
    lab("edge", "molecule", "rotate")
    lab("edge", "molecule", "drop")
    done = site("-vvv", "--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    token = Path(LAB["tunnel_token_file"]).read_text().strip()
    assert token not in planted
    assert found([*planted, token], done.stdout + done.stderr) == []
    assert "after rotation" in lab("call", "molecule", "echo", "echo", '{"text": "after rotation"}')
