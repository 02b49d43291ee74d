"""A replica that was rebooted serves again by itself."""

from __future__ import annotations

import time

from replicas import LAB_NAME, lab, only, shell

# Containers of one kernel have one boot ID; the first process of each starts with it. (The times of
# /proc/1 are those of a look at it, and may change without a reboot.)
BOOT = "cut --delimiter=' ' --fields=22 /proc/1/stat"


def test_serves_after_a_reboot(name: str) -> None:
    boot = shell(name).check_output(BOOT)
    lab("host", LAB_NAME, "reboot", name)
    host = shell(name)
    deadline = time.monotonic() + 240  # at most; the machine may be busy
    while host.run("systemctl is-active mcp-proxy@default mcp-cloudflared@default").rc != 0:
        assert time.monotonic() < deadline, host.run("systemctl --failed").stdout
        time.sleep(0.5)
    assert host.check_output(BOOT) != boot
    while '"readyConnections":4' not in host.run(
        "python3 -c 'import urllib.request as u;"
        'print(u.urlopen("http://127.0.0.1:20241/ready").read().decode())\''
    ).stdout.replace(" ", ""):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    with only(name):
        assert "back" in lab("call", LAB_NAME, "echo", "echo", '{"text": "back"}')
