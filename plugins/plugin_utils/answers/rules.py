# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for values in a host's answer. A rule takes a value and returns its problem, or ''.

A host may answer anything, so a rule says all that a value may be: type, size, characters.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import ssh_keys
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import is_hostname

Rule = Callable[[Any], str]

LINE = 4096
TEXT = 256 * 1024
_MANY = 4096


def flag(value: Any) -> str:
    """A truth value, and nothing that stands for one."""
    return "" if isinstance(value, bool) else "is no truth value"


def number(least: int, most: int) -> Rule:
    """A whole number in a range."""

    def rule(value: Any) -> str:
        right = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return "" if right else f"is no number from {least} to {most}"

    return rule


def text(limit: int = LINE) -> Rule:
    """Any text, of at most *limit* characters."""

    def rule(value: Any) -> str:
        if not isinstance(value, str):
            return "is no text"
        return "" if len(value) <= limit else f"has {len(value)} characters, more than {limit}"

    return rule


def matching(pattern: str, meaning: str, limit: int = 255) -> Rule:
    """A text that the pattern describes as a whole; *meaning* says what it is."""
    compiled = re.compile(pattern)

    def rule(value: Any) -> str:
        wrong = text(limit)(value)
        return wrong or ("" if compiled.fullmatch(value) else f"is no {meaning}")

    return rule


def pem(label: str, limit: int = 16384) -> Rule:
    """Exactly one PEM block (RFC 7468, strict) with this label."""
    body = r"(?:[A-Za-z0-9+/=]{1,76}\n)+"
    pattern = rf"\s*-----BEGIN {label}-----\n{body}-----END {label}-----\s*"
    return matching(pattern, f"single PEM block {label}", limit)


def one_of(choices: Collection[Any]) -> Rule:
    """One of a few values."""

    def rule(value: Any) -> str:
        right = isinstance(value, str) and value in choices
        return "" if right else f"is none of {', '.join(sorted(map(str, choices)))}"

    return rule


def either(first: Rule, second: Rule) -> Rule:
    """Lets a value pass if one of the two rules does."""
    return lambda value: first(value) and second(value)


def empty(value: Any) -> str:
    """The empty text."""
    return "" if value == "" else "is not empty"


def ip_address(value: Any) -> str:
    """An IPv4 or IPv6 address, without a zone."""
    if not isinstance(value, str) or len(value) > 45 or "%" in value:
        return "is no IP address"
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return "is no IP address"
    return ""


def domain(value: Any) -> str:
    """A domain name in lower case, of at least two labels (RFC 1123)."""
    right = isinstance(value, str) and len(value) <= 253 and "." in value and is_hostname(value)
    return "" if right else "is no domain name"


#: The name of a release: a directory below that of its part.
RELEASE = matching(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}", "name of a release")
#: SHA-256, as the API and openssl show it.
FINGERPRINT = matching("[0-9a-f]{64}", "SHA-256 in hexadecimal")
#: IDs of the Tunnels API, and UUIDs.
IDENTIFIER = matching("[A-Za-z0-9_-]{1,160}", "ID")
#: The name of a host in an inventory.
HOST_NAME = matching(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:-]{0,252}[A-Za-z0-9_])?", "name of a host")
#: Public keys of SSH, which become lines of known_hosts and authorized_keys.
HOST_KEY = matching(ssh_keys.HOST_KEY.pattern, "public host key", 1500)
SSH_KEY = matching(ssh_keys.PUBLIC_KEY.pattern, "public key of a renewal")
CERTIFICATE = pem("CERTIFICATE")
REQUEST = pem("CERTIFICATE REQUEST")


def list_of(rule: Rule, most: int = _MANY) -> Rule:
    """A list whose elements the rule lets pass."""

    def check(value: Any) -> str:
        if not isinstance(value, list):
            return "is no list"
        if len(value) > most:
            return f"has {len(value)} elements, more than {most}"
        return next((wrong for item in value if (wrong := rule(item))), "")

    return check


def subset(choices: Collection[str]) -> Rule:
    """A list of some of the values in the question."""

    def element(value: Any) -> str:
        right = isinstance(value, str) and value in choices
        return "" if right else "names something that was not asked about"

    return list_of(element, max(len(choices), 1))


def record(fields: Mapping[str, Rule], optional: Collection[str] = ()) -> Rule:
    """A map with these keys, and no others; the *optional* ones may be missing."""

    def check(value: Any) -> str:
        if not isinstance(value, Mapping):
            return "is no map"
        if unknown := [key for key in value if key not in fields]:
            return f"has {len(unknown)} keys that do not belong there"
        for key, rule in fields.items():
            if key not in value:
                if key not in optional:
                    return f"has no {key!r}"
            elif wrong := rule(value[key]):
                return f"in {key!r}: {wrong}"
        return ""

    return check


#: The result of firewall_info, and of replica_health if the task asks for the firewall.
FINDINGS = list_of(
    record({name: text(TEXT) for name in ("object", "state", "detail", "remedy")}), 4096
)
ROWS = list_of(
    record(
        {
            **{name: text() for name in ("counter", "who", "verdict", "what")},
            "peers": list_of(text()),
            **{name: number(0, 1 << 64) for name in ("packets", "bytes", "since")},
        }
    )
)

#: A time in UTC, as in RFC 3339, or none.
TIME = either(empty, matching("[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}Z", "time"))

#: The mark of a host that was broken into, as the state host and the replicas have it.
MARKED = record(
    {
        "name": HOST_NAME,
        "machine": either(empty, matching("[0-9a-f]{16,64}", "identity of an installation")),
        "since": TIME,
        "evidence": TIME,
    }
)

#: A registered CA certificate, as the Tunnels API has it.
CERTIFICATE_OBJECT = record(
    {
        "id": IDENTIFIER,
        "tunnel_id": either(IDENTIFIER, empty),
        "fingerprint": FINGERPRINT,
        **{name: text(64) for name in ("created_at", "expires_at", "archived_at")},
    }
)
