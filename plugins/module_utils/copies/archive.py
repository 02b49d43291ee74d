# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a state before it is encrypted: one tar archive with a manifest, which comes first.

Any ``tar`` unpacks it, should this collection be gone: ``age -d -i KEY FILE | tar -x``.
"""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import io
import json
import re
import tarfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.state import (
    MOST_BYTES,
    MOST_FILES,
    NAME,
    RECORD,
    State,
    check_size,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown

FORMAT = 1
_MANIFEST = "manifest.json"
_FOLDER = "state/"
_LARGEST_MANIFEST = 64 * 1024
_BLOCK = tarfile.BLOCKSIZE
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_SHA256 = re.compile("[0-9a-f]{64}")
_TEXTS = ("instance", "tunnel_id", "domain", "made_at", "made_by", "ca_fingerprint")
_LONGEST = 255  # characters of any of these


@dataclass(frozen=True)
class Manifest:
    """What a copy says of itself.

    :param tunnel_id: ID of the tunnel, empty if the state host does not know it.
    :param domain: the tunnel's domain, empty likewise.
    :param made_at: time in UTC as in RFC 3339.
    :param made_by: version of the collection.
    :param ca_fingerprint: SHA-256 of the CA certificate, empty without one.
    """

    instance: str
    tunnel_id: str
    domain: str
    made_at: str
    made_by: str
    ca_fingerprint: str


def describe(state: State, instance: str, made_at: str, made_by: str) -> Manifest:
    """The manifest for a copy of *state*."""
    return Manifest(
        instance=instance,
        tunnel_id=state.text("tunnel-id"),
        domain=state.text("tunnel-domain"),
        made_at=made_at,
        made_by=made_by,
        ca_fingerprint=state.ca_fingerprint(),
    )


def is_time(text: str) -> bool:
    """Whether a text is a time in UTC as in RFC 3339, to the second, that there is."""
    with contextlib.suppress(ValueError, OverflowError):
        return bool(_TIME.fullmatch(text)) and seconds(text) > 0
    return False


def seconds(text: str) -> float:
    """A time in UTC as in RFC 3339, in seconds since the epoch.

    :raises ValueError: if it is none.
    """
    return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))


def pack(state: State, manifest: Manifest) -> bytes:
    """The archive."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in state.files.items()}
    about = {"format": FORMAT, **asdict(manifest), "files": sums}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        _add(archive, _MANIFEST, json.dumps(about, indent=1).encode())
        for name, content in sorted(state.files.items()):
            _add(archive, f"{_FOLDER}{name}", content)
    return stream.getvalue()


def unpack(content: bytes, subject: str) -> tuple[Manifest, State]:
    """The manifest and the files of an archive. Nothing is written anywhere.

    :param subject: the copy, for errors.
    :raises TunnelError: if it is none, is damaged, or has a later format.
    """
    try:
        found = _members(content, subject)
    except (tarfile.TarError, ValueError):
        raise _damaged(subject, "is no archive") from None
    about = _about(found.pop(_MANIFEST, b""), subject)
    sums = about["files"]
    files = {name.removeprefix(_FOLDER): data for name, data in found.items()}
    if set(files) != set(sums):
        raise _damaged(subject, "has other files than its manifest")
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != sums[name]:
            raise _damaged(subject, f"has another {name} than its manifest")
    check_size(files, subject)
    state = State(files)
    manifest = Manifest(**{name: about[name] for name in _TEXTS})
    wanted = describe(state, manifest.instance, manifest.made_at, manifest.made_by)
    if manifest != wanted:
        raise _damaged(subject, "has a manifest that is not that of its files")
    return manifest, state


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    archive.addfile(member, io.BytesIO(content))


def _members(content: bytes, subject: str) -> dict[str, bytes]:
    """Name to content of all members, which have to be plain files with the names of ours.

    Block by block, and not as tarfile reads: headers that describe others (pax, GNU) may be nested
    without end, and no archive of ours has any.
    """
    found: dict[str, bytes] = {}
    at = 0
    while any(content[at : at + _BLOCK]):
        member = tarfile.TarInfo.frombuf(content[at : at + _BLOCK], "utf-8", "strict")
        limit = _LARGEST_MANIFEST if member.name == _MANIFEST else MOST_BYTES
        known = member.type == tarfile.REGTYPE and _is_ours(member.name)
        if not (known and 0 <= member.size <= limit) or member.name in found:
            raise _damaged(subject, "has a member that is no file of a state")
        if len(found) > MOST_FILES:
            raise _damaged(subject, f"has more than {MOST_FILES} files")
        at += _BLOCK
        data = content[at : at + member.size]
        if len(data) != member.size:
            raise _damaged(subject, "ends too early")
        found[member.name] = data
        at += -(-member.size // _BLOCK) * _BLOCK
    return found


def _is_ours(name: str) -> bool:
    inner = name.removeprefix(_FOLDER)
    is_file = name.startswith(_FOLDER) and NAME.fullmatch(inner) and inner != RECORD
    return name == _MANIFEST or bool(is_file)


def _about(text: bytes, subject: str) -> Mapping[str, Any]:
    """The fields of a manifest of this format."""
    about: dict[str, Any] = {}
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text)
        about = found if isinstance(found, dict) else {}
    number = about.get("format")
    if not isinstance(number, int) or isinstance(number, bool):
        raise _damaged(subject, "has no manifest")
    if number > FORMAT:
        raise TunnelError(
            subject,
            f"has format {number}, and this release of the collection knows {FORMAT} at most",
            "Restore it with the release that has made it, "
            f"{shown(about.get('made_by', 'a later one'))}, or with a later one",
        )
    sums = about.get("files")
    right = (
        all(isinstance(about.get(n), str) and len(about[n]) <= _LONGEST for n in _TEXTS)
        and is_time(about["made_at"])
        and isinstance(sums, dict)
        and all(isinstance(s, str) and _SHA256.fullmatch(s) for s in sums.values())
    )
    if number != FORMAT or not right:
        raise _damaged(subject, "has a manifest that cannot be read")
    return about


def _damaged(subject: str, problem: str) -> TunnelError:
    return TunnelError(subject, problem, "It is damaged, or none of ours: take another copy")
