"""A planted token and the keys appear nowhere where somebody could read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from replicas import HOSTS, LAB, LAB_NAME, TOGETHER, lab, play, recap, shell
from secrets_search import PLACES, found, key_lines, shown, token_forms


@pytest.fixture(scope="module")
def planted() -> list[str]:
    """Everything that must not be seen: token, its secret in both codings, keys."""
    needles = token_forms(Path(LAB["tunnel_token_file"]).read_text().strip())
    for name in HOSTS:
        needles += key_lines(name)
    assert len(needles) == 4 + 2 * (len(HOSTS) + 1)  # the CA's key, too
    return needles


def test_not_on_the_hosts(planted: list[str]) -> None:
    for name in HOSTS:
        for command in PLACES:
            assert found(planted, shown(name, command)) == [], (name, command)


def test_not_in_the_output_of_a_run_that_handles_them(planted: list[str]) -> None:
    """A rotated token and new certificates, at full verbosity; the old token is refused.

    One host replaces the token, where --diff could show it; the other has none, and writes it.
    """
    lab("edge", LAB_NAME, "rotate")
    lab("edge", LAB_NAME, "drop")
    shell(HOSTS[-1]).check_output("rm /etc/mcp-tunnel/default/tunnel-token")
    for name in HOSTS:
        shell(name).check_output("rm -f /etc/mcp-tunnel/default/tls/tls.crt")
    done = play(*TOGETHER, "-vvv", "--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] > 0 for counters in recap(done.stdout).values())
    token = Path(LAB["tunnel_token_file"]).read_text().strip()
    assert token not in planted
    new_keys = [line for name in HOSTS for line in key_lines(name)]
    assert found([*planted, *new_keys, *token_forms(token)], done.stdout + done.stderr) == []
    assert "after rotation" in lab("call", LAB_NAME, "echo", "echo", '{"text": "after rotation"}')
