# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets of this host, which must be in no archive.

They are found by their form in every place where this collection keeps one, those of other
instances and of earlier states among them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import (
    at_rest,
    secret_files,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.token import parse_token

PLACES = (
    Path("/etc/mcp-tunnel"),
    Path("/var/lib/mcp-tunnel"),
    Path("/var/lib/mcp-tunnel-replica"),
    Path("/run/mcp-tunnel-provision"),
)
_MOST_FILES = 20_000
_OPENSSH = b"openssh-key-v1\0"
# Of a private key of this kind, the fields that come first.
_PUBLIC_FIELDS = {
    b"ssh-ed25519": 1,
    b"ssh-rsa": 2,
    b"ecdsa-sha2-nistp256": 2,
    b"ecdsa-sha2-nistp384": 2,
    b"ecdsa-sha2-nistp521": 2,
}
_LARGEST = 1024 * 1024
_KEY = re.compile(
    r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----([A-Za-z0-9+/=\s]+)-----END \1-----", re.DOTALL
)
_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----", re.DOTALL
)
# Of the vendor, and of identity platforms; the session of a provisioning run has one.
_ACCESS = re.compile(r"sk-ant-[A-Za-z0-9_-]{8,}|eyJ[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+\.[\w=-]*")


@dataclass(frozen=True)
class Secret:
    """A secret, by the bytes that it consists of in its different forms, and where it is."""

    name: str
    values: tuple[bytes, ...] = field(repr=False)


@dataclass
class Known:
    """The secrets of a host, and the public data that may look like a part of one.

    A private key's file holds its public key as well, which is in certificates.
    """

    secrets: list[Secret] = field(default_factory=list)
    public: list[bytes] = field(default_factory=list)


def known(places: Iterable[Path] = PLACES) -> Known:
    """All secrets in the files below *places*.

    :raises TunnelError: if there are too many files, or one that cannot be a file of ours.
    :raises OSError: if one cannot be read: then nothing is known about what it holds.
    """
    found = Known()
    for number, path in enumerate(_files(places)):
        if number >= _MOST_FILES:
            raise TunnelError(
                str(path.parent), f"and others hold {_MOST_FILES} files", "Remove what is not ours"
            )
        content = _content(str(path))
        if content is not None:
            _add(found, str(path), content[:_LARGEST].decode("utf-8", "replace"))
    return found


def _content(path: str) -> bytes | None:
    """The content of a file, decrypted. One that this host cannot decrypt has told it nothing."""
    try:
        return at_rest.read_secret(path)
    except TunnelError:
        return secret_files.read_file(path)


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        for directory, names, files in os.walk(place, onerror=_raise):
            names.sort()
            yield from (
                Path(directory, name) for name in sorted(files) if _is_file(directory, name)
            )


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_file(directory: str, name: str) -> bool:
    path = Path(directory, name)
    return path.is_file() and not path.is_symlink()


def _add(found: Known, path: str, text: str) -> None:
    found.public += map(_der, _CERTIFICATE.findall(text))
    with contextlib.suppress(TunnelError):
        found.secrets.append(_token(path, text.strip()))
    for _label, body in _KEY.findall(text):
        joined = "".join(body.split())
        with contextlib.suppress(binascii.Error):
            content = base64.b64decode(joined)
            public, secret = _halves(content)
            values = (secret,) if public else (joined.encode(), content)
            found.secrets.append(Secret(f"the private key in {path}", values))
            found.public.append(public)
    for value in _ACCESS.findall(text):
        found.secrets.append(Secret(f"the access token in {path}", (value.encode(),)))


def _token(path: str, text: str) -> Secret:
    """The tunnel token: as a whole, and its secret part in both forms.

    :raises TunnelError: if it is none.
    """
    parse_token(text)
    part = json.loads(base64.b64decode(text))["s"]
    values = (text.encode(), part.encode(), base64.b64decode(part))
    return Secret(f"the tunnel token in {path}", values)


def _halves(key: bytes) -> tuple[bytes, bytes]:
    """The public half of a key in OpenSSH's form, and its secret; of another form, only all of it.

    ssh names algorithms and shows public keys, which are in the second half as well, after random
    bytes: a random letter before a name is no secret (PROTOCOL.key of OpenSSH: after the magic
    bytes a cipher, a function and its options, the number of keys, the first public key; then the
    length of the second half, two check integers, and the fields of the private key).
    """
    if not key.startswith(_OPENSSH):
        return b"", key
    cipher, at = _field(key, len(_OPENSSH))
    for skipped in (0, 0, 4):
        _value, at = _field(key, at + skipped)
    public = key[:at]
    at += 4
    if cipher == b"none":
        kind, at = _field(key, at + 8)
        for _number in range(_PUBLIC_FIELDS.get(kind, 0)):
            _value, at = _field(key, at)
        if kind == b"ssh-ed25519":
            # RFC 8032, section 5.1.5; the public key follows it once more.
            return public, _field(key, at)[0][:32] or key
    return public, key[at:] or key


def _field(key: bytes, at: int) -> tuple[bytes, int]:
    """The string *at* this place (RFC 4251, section 5), and the place behind it."""
    begin = at + 4
    end = begin + int.from_bytes(key[at:begin], "big")
    return key[begin:end], end


def _der(pem: str) -> bytes:
    try:
        return ssl.PEM_cert_to_DER_cert(pem)
    except ValueError:
        return b""
