# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipients of copies: public keys of age, or of SSH. Judged without the library.

A recipient with a wrong letter would make copies that nobody can open, so it is refused on the
controller, which need not have the library.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import described

MOST = 25
_NATIVE = re.compile("age1[qpzry9x8gf2tvdw0s3jn54khce6mua7l]{58}")
_SECRET = re.compile("AGE-SECRET-KEY-|PRIVATE KEY", re.IGNORECASE)
# BIP 173: characters for five bits each, and the generator of the checksum.
_CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
# RFC 8709 section 4, in the encoding of RFC 4251 section 5: lengths of 4 bytes before both.
_ED25519 = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"


def check_recipients(value: object, subject: str) -> list[str]:
    """The recipients in a variable, those of SSH without their comments.

    :raises TunnelError: if it is no list of recipients. A private key is not quoted.
    """
    if not isinstance(value, (list, tuple)) or len(value) > MOST:
        raise TunnelError(
            subject,
            f"must be a list of at most {MOST} recipients",
            "Write it like [age1…], with the public key that age-keygen has shown",
        )
    return [_checked(item, f"{subject}[{at}]") for at, item in enumerate(value)]


def digest(recipients: Sequence[str]) -> str:
    """SHA-256 that tells these recipients from others, in any order."""
    return hashlib.sha256("\n".join(sorted(recipients)).encode()).hexdigest()


def _checked(item: object, subject: str) -> str:
    text = item.strip() if isinstance(item, str) else ""
    if _SECRET.search(text):
        raise TunnelError(
            subject,
            "is a private key, which every state host would get",
            "Put its public key here (age-keygen -y FILE shows it), and make another pair if "
            "others may have read this one",
        )
    if _NATIVE.fullmatch(text) and _has_checksum(text):
        return text
    fields = text.split()
    if len(fields) >= 2 and fields[0] == "ssh-ed25519" and _is_ed25519(fields[1]):
        return " ".join(fields[:2])
    if text.startswith("age1"):
        problem = "is no public key of age: a letter is wrong, or missing"
    else:
        problem = f"is {described(item)}, no public key of age (age1…) and none of ssh-ed25519"
    raise TunnelError(subject, problem, "Copy it again from age-keygen -y, or from the .pub file")


def _has_checksum(text: str) -> bool:
    """Whether the Bech32 checksum of BIP 173 is right."""
    prefix, data = text[:3], text[4:]
    values = [ord(letter) >> 5 for letter in prefix] + [0] + [ord(c) & 31 for c in prefix]
    values += [_CHARACTERS.index(letter) for letter in data]
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, factor in enumerate(_GENERATOR):
            checksum ^= factor if top >> bit & 1 else 0
    return checksum == 1


def _is_ed25519(text: str) -> bool:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return key.startswith(_ED25519) and len(key) == len(_ED25519) + 32
