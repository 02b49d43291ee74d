# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of an operator's backups: each is a file with a description beside it.

Names of files are made here, of the name of the instance and the time; nothing that a host says is
part of them.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.archive import (
    is_time,
    seconds,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.encryption import (
    LARGEST,
    why_not_armored,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.private_path import (
    check_unchangeable,
)

_DEST = "mcp_tunnel_backup_dest"
_FILE = "mcp_tunnel_backup_file"
_SUFFIX = ".age"
_LARGEST_DESCRIPTION = 16 * 1024


@dataclass(frozen=True)
class Description:
    """What lies beside a backup, for people and for the next run. No secret is in it.

    :param state: fingerprint of the state in it.
    :param sha256: that of the file.
    :param size: bytes of the file.
    :param made_at: time in UTC as in RFC 3339.
    :param recipients: digest of its recipients.
    """

    instance: str
    tunnel_id: str
    domain: str
    ca_fingerprint: str
    state: str
    sha256: str
    size: int
    made_at: str
    made_by: str
    recipients: str


@dataclass(frozen=True)
class Backup:
    """A backup in the folder."""

    path: Path
    about: Description


def newest(folder: Path, instance: str) -> Backup | None:
    """The last backup of an instance that is there as it was written; ``None`` without one.

    :raises TunnelError: if other users of the controller can change the folder.
    """
    if folder.exists():
        check_unchangeable(folder.absolute(), _changeable)
    now = time.time()
    found = [backup for backup in _all(folder, instance) if _is_whole(backup)]
    # A time that is still to come is of a clock that was wrong.
    return max(
        found,
        key=lambda backup: (seconds(backup.about.made_at) <= now, backup.about.made_at),
        default=None,
    )


def write(folder: Path, text: str, about: Description) -> Path:
    """Keeps a backup, and its description once it is on disk; returns its path.

    :raises TunnelError: if the text is none that age has encrypted, or there is no place for it
        that other users of the controller cannot change.
    """
    if problem := why_not_armored(text):
        raise TunnelError("the copy that the state host has sent", problem, "Look at that host")
    stamp = re.sub("[-:]", "", about.made_at)
    path = folder / f"{about.instance}-{stamp}{_SUFFIX}"
    attributes = secret_files.private_attributes()
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        check_unchangeable(folder.absolute(), _changeable)
        secret_files.write_file(str(path), text.encode("ascii"), attributes)
        description = json.dumps(asdict(about), indent=1) + "\n"
        secret_files.write_file(str(_beside(path)), description.encode(), attributes)
    except OSError as error:
        raise TunnelError(
            _DEST,
            f"{error.filename or folder}: {error.strerror}",
            "Give the absolute path of a directory that this user may write",
        ) from None
    return path


def read(path: Path) -> str:
    """The text of a backup that the operator names.

    :raises TunnelError: if there is none, it cannot be one, or other users of the controller could
        have put another one there.
    """
    try:
        check_unchangeable(path.absolute(), _exchangeable)
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise TunnelError(
            _FILE,
            f"{path} on the controller: {error.strerror}",
            "Give the absolute path of a backup",
        ) from None
    text = content.decode("ascii", "replace")
    if problem := why_not_armored(text):
        raise TunnelError(str(path), problem, "Give a backup that backup.yml has made, whole")
    return text


def sha256_of(text: str) -> str:
    """SHA-256 of a copy in hexadecimal."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _changeable(found: Path, problem: str) -> TunnelError:
    return TunnelError(
        _DEST,
        f"{found} {problem}, and so could remove backups, or pretend that there are some",
        "Revoke that permission, or give a directory that only you may write",
    )


def _exchangeable(found: Path, problem: str) -> TunnelError:
    return TunnelError(
        _FILE,
        f"{found} on the controller {problem}, and so could have put a backup of their own there",
        "Compare its SHA-256 with the one that you have noted elsewhere, and revoke that "
        "permission; or take another backup",
    )


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _all(folder: Path, instance: str) -> Iterator[Backup]:
    """The backups of an instance that have a description."""
    for beside in sorted(folder.glob(f"{instance}-*{_SUFFIX}.json")):
        about = _description(beside)
        if about is not None and about.instance == instance:
            yield Backup(beside.with_name(beside.name.removesuffix(".json")), about)


def _description(path: Path) -> Description | None:
    try:
        with path.open("rb") as file:
            about = Description(**json.loads(file.read(_LARGEST_DESCRIPTION)))
        texts = {**asdict(about), "size": ""}.values()
        right = all(isinstance(each, str) for each in texts) and is_time(about.made_at)
        return about if right else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _is_whole(backup: Backup) -> bool:
    try:
        with backup.path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError:
        return False
    return hashlib.sha256(content).hexdigest() == backup.about.sha256
