# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of an instance, as a copy has it: the files of its directory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest, secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

RECORD = "copies.json"
"""Says what is known of the copies, so no copy has it."""
MOST_BYTES = 144 * 1024
"""Of all files together: 500 replicas take 70 KiB. Encrypted, it has to fit into one answer."""
MOST_FILES = 64

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Name of a file of the state; files that begin with a dot are half-written ones."""
_MEMBERS = "replicas.json"


@dataclass(frozen=True)
class State:
    """The files of a state directory, by name."""

    files: Mapping[str, bytes]

    def fingerprint(self) -> str:
        """SHA-256 that tells this state from others, empty for no state.

        When a replica was last proven is left out: that changes with every run, and nobody lives
        on it.
        """
        if not self.files:
            return ""
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            lasting = _without_proofs(content) if name == _MEMBERS else content
            digest.update(f"{name}:{hashlib.sha256(lasting).hexdigest()}\n".encode())
        return digest.hexdigest()

    def text(self, name: str) -> str:
        """The value in a small file, empty without it."""
        return self.files.get(name, b"").decode("utf-8", "replace").strip()

    def replicas(self) -> list[str]:
        """The names on the list of replicas; none if it cannot be read."""
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return sorted(json.loads(self.text(_MEMBERS))["replicas"].keys())
        return []

    def ca_fingerprint(self) -> str:
        """SHA-256 of the CA certificate in hexadecimal, empty without a CA."""
        try:
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.text("ca.crt"))).hexdigest()
        except ValueError:
            return ""

    def differences(self, other: State) -> list[str]:
        """The names of the files that only one of the two has, or has otherwise."""
        names = sorted({*self.files, *other.files})
        return [n for n in names if _lasting(self, n) != _lasting(other, n)]


def read_state(path: str) -> State:
    """The state in the directory *path*; none if it is not there. Directories in it are left out.

    :raises TunnelError: if it is larger than a copy may be, has a file of another kind, or one that
        this host cannot decrypt.
    """
    try:
        names = sorted(filter(NAME.fullmatch, os.listdir(path)))
    except (FileNotFoundError, NotADirectoryError):
        return State({})
    files: dict[str, bytes] = {}
    for name in names:
        whole = os.path.join(path, name)
        status = secret_files.lstat(whole)
        if name == RECORD or status is None or stat.S_ISDIR(status.st_mode):
            continue
        if status.st_size > MOST_BYTES:
            raise _too_large(path)
        # In clear: another host has another secret. The copy is encrypted as a whole.
        content = at_rest.read_secret(whole)
        if content is not None:
            files[name] = content
    check_size(files, path)
    return State(files)


def check_size(files: Mapping[str, bytes], subject: str) -> None:
    """Refuses more than a copy can have. :raises TunnelError: if it is."""
    if len(files) > MOST_FILES or sum(map(len, files.values())) > MOST_BYTES:
        raise _too_large(subject)


def _too_large(subject: str) -> TunnelError:
    return TunnelError(
        subject,
        f"has more than {MOST_FILES} files, or more than {MOST_BYTES // 1024} KiB in them, so no "
        "copy of it can be made",
        "Move away the files that are not of the instance",
    )


def _lasting(state: State, name: str) -> bytes | None:
    content = state.files.get(name)
    return content if content is None or name != _MEMBERS else _without_proofs(content)


def _without_proofs(content: bytes) -> bytes:
    """The list of the replicas without the times of their proofs; anything else as it is."""
    try:
        found = json.loads(content)
        for each in found["replicas"].values():
            each["confirmed"] = ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return content
    return json.dumps(found, sort_keys=True).encode()
