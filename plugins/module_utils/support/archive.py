# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the archive: collects, searches, packs, and searches what was packed.

A file that holds a secret of the host is left out and named; lines in the form of any other secret
are blanked and counted. No file of the archive may be larger than its
source allows, and the archive has an upper size and an upper time.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import socket
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import (
    TunnelError,
    without_control,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support import secrets
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support.search import (
    SHAPE,
    Search,
    blanked,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support.sources import (
    Content,
    LeftOut,
    Source,
    sources,
)

FORMAT = 1
MANIFEST = "manifest.json"
#: Bytes of all files together. Packed, they cannot be more, but for some in a thousand.
MOST = 15 * 1024 * 1024
#: Bytes of an archive; the controller takes no larger one.
MOST_PACKED = 16 * 1024 * 1024
_SECONDS = 120.0
#: Characters of the reason why a file was left out; the controller takes no longer one.
LONGEST_REASON = 1000


@dataclass(frozen=True)
class Made:
    """An archive: its name without ``.tar.gz``, its content, and its manifest.

    Attributes:
        secrets: the names of the files that were left out because they held a secret.
        blanked: the names of files, each with the number of its lines that were blanked because
            they had the form of a secret.
    """

    name: str
    content: bytes
    manifest: dict[str, Any]
    secrets: list[str]
    blanked: dict[str, int]


class _Collection:
    """The files so far, within the limits of time and size."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._deadline = time.monotonic() + _SECONDS
        self._room = MOST
        self.files: dict[str, bytes] = {}
        self.entries: list[dict[str, Any]] = []
        self.left_out: list[dict[str, str]] = []
        self.secrets: list[str] = []
        self.blanked: dict[str, int] = {}

    def take(self, source: Source) -> None:
        """Reads the source; puts it in, or says why not."""
        try:
            seconds = self._deadline - time.monotonic()
            if seconds <= 0:
                raise LeftOut(f"the {_SECONDS:.0f} seconds for all files are over")
            self._put(source, source.read(seconds))
        except LeftOut as reason:
            self._leave_out(source, str(reason))

    def _put(self, source: Source, content: Content) -> None:
        if len(content.data) > self._room:
            raise LeftOut(f"the archive would become larger than {MOST} bytes")
        content = self._without_secrets(source, content)
        self._room -= len(content.data)
        self.files[source.name] = content.data
        entry = {"name": source.name, "how": source.how, "size": len(content.data)}
        entry["sha256"] = hashlib.sha256(content.data).hexdigest()
        self.entries.append({**entry, "note": content.note} if content.note else entry)

    def _without_secrets(self, source: Source, content: Content) -> Content:
        """The content, without lines in the form of a secret that is none of this host's.

        :raises LeftOut: if there is a secret in it after that.
        """
        hits = self._search.found(content.data)
        if hits == [SHAPE]:
            data, number = blanked(content.data)
            hits = self._search.found(data)
            if not hits:
                self.blanked[source.name] = number
                note = f"{number} lines blanked, which held {SHAPE}, or could be a part of it"
                content = Content(data, "; ".join(filter(None, [content.note, note])))
        if hits:
            self.secrets.append(source.name)
            raise LeftOut(f"it holds {', '.join(hits)}, or a part of it")
        return content

    def _leave_out(self, source: Source, why: str) -> None:
        text = without_control(why)[:LONGEST_REASON]
        # A program may quote in its error what it was given.
        if self._search.found(why.encode("utf-8", "replace")):
            text = "the reason holds a secret itself"
        self.left_out.append({"name": source.name, "how": source.how, "why": text})


def make(
    instances: Sequence[str],
    wanted: Iterable[Source] | None = None,
    known: secrets.Known | None = None,
) -> Made:
    """The archive about these instances of this host.

    :param wanted: what to collect, and *known* the secrets to look for; by default, all of both.
    :raises TunnelError: if the packed archive holds a secret: then there is none.
    :raises OSError: if the host's secrets cannot be read: then they could not be looked for.
    """
    search = Search(secrets.known() if known is None else known)
    collection = _Collection(search)
    for source in sources(instances) if wanted is None else wanted:
        collection.take(source)
    now = datetime.now(timezone.utc).replace(microsecond=0)
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:64]
    name = f"mcp-tunnel-support-{host}-{now:%Y%m%dT%H%M%SZ}"
    manifest = {
        "format": FORMAT,
        "host": host,
        "at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "instances": list(instances),
        "searched_for": search.names,
        "files": collection.entries,
        "left_out": collection.left_out,
        "secrets": collection.secrets,
        "blanked": [{"name": name, "lines": lines} for name, lines in collection.blanked.items()],
    }
    text = json.dumps(manifest, indent=2).encode() + b"\n"
    packed = _pack(name, {MANIFEST: text, **collection.files}, int(now.timestamp()))
    _check(packed, search)
    return Made(name, packed, manifest, collection.secrets, collection.blanked)


def store(made: Made, directory: str) -> str:
    """Writes the archive into *directory*, for root alone; returns its path.

    :raises TunnelError: if that is no directory.
    """
    if not os.path.isdir(directory):
        raise TunnelError(directory, "is no directory", "Name one that is there with --output")
    path = os.path.join(os.path.realpath(directory), f"{made.name}.tar.gz")
    secret_files.write_file(path, made.content, secret_files.private_attributes())
    return path


def _pack(name: str, files: dict[str, bytes], now: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size, member.mode, member.mtime = len(content), 0o600, now
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _check(packed: bytes, search: Search) -> None:
    """Reads the finished archive as its receiver would.

    :raises TunnelError: if a secret is in it after all, or it is too large.
    """
    if len(packed) > MOST_PACKED:
        raise TunnelError("the archive", f"has {len(packed)} bytes", "Report this as a bug")
    for name, content in _members(packed):
        if search.found(name.encode()) or search.found(content):
            raise TunnelError(
                "the archive",
                f"holds a secret in {name}, and was not written",
                "Report this as a bug",
            )


def _members(packed: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            yield member.name, file.read() if file else b""
