# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints of OpenPGP keys, so that no host trusts a repository key by its URL alone."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

_PUBLIC_KEY = 6
_FINGERPRINT = re.compile(r"[0-9A-F]{40}")
_ARMOR = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(?:[A-Za-z]+: .*\n)*\s*\n"
    r"(.*?)\n(?:=[A-Za-z0-9+/]{4}\s*\n)?"
    r"-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)


def parse_fingerprint(text: str) -> str:
    """The fingerprint of a version 4 key: 40 upper-case hex digits, given with or without blanks.

    :raises TunnelError: if the text is no fingerprint.
    """
    digits = "".join(text.split()).upper()
    if not _FINGERPRINT.fullmatch(digits):
        raise TunnelError(
            "cloudflared_package_key_fingerprint",
            "is not the fingerprint of an OpenPGP key",
            "Give its 40 hexadecimal digits, as gpg --show-keys prints them",
        )
    return digits


def dearmor(key: bytes) -> bytes:
    """The packets of a key file, armored or not.

    :raises ValueError: if an armored block cannot be decoded.
    """
    if not key.lstrip().startswith(b"-----BEGIN"):
        return key
    found = _ARMOR.search(key.decode("ascii").replace("\r\n", "\n"))
    if not found:
        raise ValueError("not an armored OpenPGP public key")
    try:
        return base64.b64decode(found.group(1))
    except binascii.Error:
        raise ValueError("not an armored OpenPGP public key") from None


def armor(packets: bytes) -> str:
    """The armored form of *packets*, without the optional checksum (RFC 9580 section 6.1)."""
    text = base64.encodebytes(packets).decode().replace("\n", "")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    begin, end = (f"-----{word} PGP PUBLIC KEY BLOCK-----" for word in ("BEGIN", "END"))
    return "\n".join([begin, "", *lines, end, ""])


def primary_fingerprints(packets: bytes) -> list[str]:
    """Fingerprints of all primary keys in *packets*: 40 upper-case hex digits each.

    Only version 4 keys are understood (RFC 9580 section 5.5.4.2).

    :raises ValueError: if the packets are malformed, or a key has another version.
    """
    fingerprints = []
    for tag, body in _packets(packets):
        if tag != _PUBLIC_KEY:
            continue
        if body[:1] != b"\x04":
            raise ValueError("a key of an unknown version")
        framed = b"\x99" + len(body).to_bytes(2, "big") + body
        fingerprints.append(hashlib.sha1(framed).hexdigest().upper())  # noqa: S324  (the format's own)
    if not fingerprints:
        raise ValueError("no public key in it")
    return fingerprints


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields (tag, body) of each packet, old and new format (RFC 9580 section 4.2)."""
    position = 0
    while position < len(data):
        header = data[position]
        if not header & 0x80:
            raise ValueError("not an OpenPGP packet")
        if header & 0x40:
            tag = header & 0x3F
            start, length = _new_length(data, position + 1)
        else:
            tag = (header >> 2) & 0x0F
            octets = {0: 1, 1: 2, 2: 4}.get(header & 3)
            if octets is None:
                raise ValueError("a packet of indeterminate length")
            start = position + 1 + octets
            length = int.from_bytes(data[position + 1 : start], "big")
        if start + length > len(data):
            raise ValueError("cut off")
        yield tag, data[start : start + length]
        position = start + length


def _new_length(data: bytes, position: int) -> tuple[int, int]:
    """The start of the body and its length, by the new format."""
    try:
        first = data[position]
        if first < 192:
            return position + 1, first
        if first < 224:
            return position + 2, ((first - 192) << 8) + data[position + 1] + 192
    except IndexError:
        raise ValueError("cut off") from None
    if first == 255:
        return position + 5, int.from_bytes(data[position + 1 : position + 5], "big")
    raise ValueError("a packet of partial length")
