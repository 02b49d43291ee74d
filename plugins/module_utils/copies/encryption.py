# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption of copies with age (https://c2sp.org/age), by the library pyrage.

Copies are armored: text that ``age`` reads, too.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

LABEL = "AGE ENCRYPTED FILE"
LARGEST = 224 * 1024
"""Characters of a copy: those of the largest state, its manifest, and 25 recipients."""
_RECIPIENTS = "mcp_tunnel_backup_recipients"
_SSH = "ssh-ed25519 "
_SSH_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----"
_NATIVE_KEY = re.compile(r"AGE-SECRET-KEY-1[A-Z0-9]{58}")


def require_pyrage(remedy: str) -> Any:
    """The library. :raises TunnelError: if it is not there; *remedy* is what to do about it."""
    try:
        import pyrage
    except ImportError as error:
        raise TunnelError(
            "pyrage", f"cannot be imported ({error}), and copies are encrypted with it", remedy
        ) from None
    return pyrage


def encrypt(content: bytes, recipients: Sequence[str]) -> str:
    """The content as armored text that any of the *recipients* can decrypt.

    :raises TunnelError: if one of them is no recipient.
    """
    pyrage = require_pyrage("Run site.yml, which ships a release that has it")
    keys = [_recipient(pyrage, text) for text in recipients]
    if not keys:
        raise TunnelError(_RECIPIENTS, "is empty", "Name at least one recipient")
    text: str = pyrage.encrypt(content, keys, armored=True).decode("ascii")
    return text


def decrypt(text: str, identities: Sequence[Any], subject: str) -> bytes:
    """The content of an armored text.

    :param identities: from :func:`read_identities`.
    :param subject: the copy, for errors.
    :raises TunnelError: if none of them is one of its recipients, or it is damaged.
    """
    pyrage = require_pyrage(_INSTALL)
    try:
        content: bytes = pyrage.decrypt(text.strip().encode("ascii"), list(identities))
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            raise TunnelError(
                subject,
                "was encrypted for other recipients than that of the given identity",
                "Give the identity of one of its recipients in mcp_tunnel_backup_identity_file",
            ) from None
        raise _damaged(subject, str(error)) from None
    except UnicodeEncodeError:
        raise _damaged(subject, "is no text") from None
    return content


def read_identities(text: str, subject: str) -> list[Any]:
    """The private keys in a file of age-keygen or ssh-keygen. No error quotes a part of it.

    :param subject: the file, for errors.
    :raises TunnelError: if it has none, or one that cannot be used.
    """
    pyrage = require_pyrage(_INSTALL)
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    try:
        if lines and lines[0] == _SSH_KEY:
            return [pyrage.ssh.Identity.from_buffer(text.encode())]
        if lines and all(map(_NATIVE_KEY.fullmatch, lines)):
            return [pyrage.x25519.Identity.from_str(line) for line in lines]
    except pyrage.IdentityError:
        pass
    raise TunnelError(
        subject,
        "has no identity that can be used",
        "Give a file of age-keygen, or a private key of type ssh-ed25519, either without a "
        "passphrase. One with a passphrase has to be decrypted before, into a file in memory",
    )


def why_not_armored(text: str) -> str:
    """Why a text is no armored copy, as far as this shows without an identity; '' if it may be."""
    lines = text.strip().splitlines()
    if len(text) > LARGEST:
        return f"has {len(text)} characters, more than {LARGEST}"
    ends = (f"-----BEGIN {LABEL}-----", f"-----END {LABEL}-----")
    if len(lines) < 3 or (lines[0], lines[-1]) != ends:
        return "is no file that age has encrypted as text, or only a part of one"
    if any(len(line) != 64 for line in lines[1:-2]) or not 0 < len(lines[-2]) <= 64:
        return "has lines of another length than age's"
    try:
        content = base64.b64decode("".join(lines[1:-1]), validate=True)
    except (binascii.Error, ValueError):
        return "is not base64 between its first and last line"
    header, _mac, rest = content.partition(b"\n--- ")
    if not header.startswith(b"age-encryption.org/v1\n-> ") or len(rest) < 44:
        return "does not begin with the header of age"
    return ""


_INSTALL = (
    "Install it for Ansible's own Python on this controller, as in pip install pyrage; the "
    "execution environment has it"
)


def _recipient(pyrage: Any, text: str) -> Any:
    try:
        if text.startswith(_SSH):
            return pyrage.ssh.Recipient.from_str(text)
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise TunnelError(
            _RECIPIENTS,
            f"{text!r} is no recipient: {error}",
            "Write it as age-keygen has shown it",
        ) from None


def _damaged(subject: str, problem: str) -> TunnelError:
    return TunnelError(
        subject, f"cannot be decrypted: {problem}", "It is damaged: take another copy"
    )
