"""Search for secrets where somebody could read them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping

from replicas import shell

#: The shapes of a federated access token, and of any JWT.
SHAPES = re.compile(r"sk-ant-oat01-[A-Za-z0-9_-]{8}|eyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.")

#: Commands for a root shell that show what a host displays or keeps.
PLACES = (
    "journalctl --no-pager --output=export",
    "ps -eo args e",
    "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' || true",
    "systemctl show '*' --all --no-pager",
    "systemctl cat 'mcp-*' --no-pager",
    "cat /etc/mcp-tunnel/default/cloudflared.env /etc/mcp-tunnel/default/proxy.yaml",
    # what Ansible left behind
    "find /root/.ansible /home/ops/.ansible /tmp /var/tmp -type f -exec cat {} + || true",
)

# Every file that was written since the host was booted from its image. /run is memory. The times of
# /proc/1 itself are those of the first look at it, or of a later one when memory was short.
_BOOTED = "$(($(date +%s) - $(ps -o etimes= -p 1) - 1))"
_ON_THE_DISK = f'find / -xdev -type f -newerct "@{_BOOTED}" -exec cat {{}} +'


def on_the_disk(name: str, needles: list[str]) -> list[int]:
    """Return the numbers of the needles that a file of the host has, as lines or parts of them."""
    content = shell(name).run(_ON_THE_DISK).stdout_bytes
    assert len(content) > 10_000_000
    return [number for number, needle in enumerate(needles) if needle.encode() in content]


def on_no_disk(planted: Mapping[str, list[str]]) -> None:
    """Assert that no host has one of the secrets, of whichever host, in a file on its disk."""
    everything = [needle for needles in planted.values() for needle in needles]
    for name in planted:
        assert on_the_disk(name, everything) == [], name


def shown(name: str, command: str) -> str:
    """Return what one of the places shows on the host NAME.

    Not every byte is text: the journal's export form writes lengths as numbers.
    """
    return shell(name).run(command).stdout_bytes.decode(errors="replace")


def key_lines(name: str) -> list[str]:
    """Return the lines of a host's private keys that hold secret bytes: any of them is a leak.

    A PKCS #8 P-256 key has three lines; the third holds only the end of the public point, which
    is in certificates, too.
    """
    text = shell(name).check_output(
        "cat /etc/mcp-tunnel/default/tls/tls.key /var/lib/mcp-tunnel/default/ca*.key 2>/dev/null"
        " || true"
    )
    keys = text.split("-----BEGIN PRIVATE KEY-----")[1:]
    return [line for key in keys for line in key.split()[:2]]


def token_forms(token: str) -> list[str]:
    """Return a tunnel token and its secret in every coding that a leak may have."""
    secret = json.loads(base64.b64decode(token))["s"]
    return [token, token.rstrip("="), secret, base64.b64decode(secret).hex()]


def found(needles: list[str], haystack: str) -> list[int]:
    """Return the numbers of the needles that the text holds: a failing test must not print them."""
    squeezed = re.sub(r"\s+", "", haystack)
    return [
        number for number, needle in enumerate(needles) if needle in haystack or needle in squeezed
    ]
