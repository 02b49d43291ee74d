# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collects from a replica what support needs, and fetches it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import check_path
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support.archive import (
    LONGEST_REASON,
    MOST,
    MOST_PACKED,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support.transfer import PART
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
    Unanswered,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    FINGERPRINT,
    list_of,
    number,
    record,
    text,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.private_path import (
    check_unchangeable,
    ensure_private_directory,
)

_DEST = "mcp_tunnel_support_dest"
# Four characters stand for three bytes.
_LONGEST = PART // 3 * 4 + 4
_NAME, _MANY = 255, 500
_FIELDS: Mapping[str, Fields] = {
    "made": {
        "size": number(1, MOST_PACKED),
        "sha256": FINGERPRINT,
        "left_out": list_of(record({"name": text(_NAME), "why": text(LONGEST_REASON)}), _MANY),
        "secrets": list_of(text(_NAME), _MANY),
        "blanked": list_of(record({"name": text(_NAME), "lines": number(1, MOST)}), _MANY),
    },
    "read": {"content": text(_LONGEST)},
    "absent": {},
}


class ActionModule(CheckedModule):
    """Takes the archive as bytes: written under a name of the controller's, and never unpacked."""

    _VALID_ARGS = frozenset(("dest", "evidence_of", "instance"))

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return _FIELDS[arguments["state"]]

    def ask(
        self,
        task_vars: dict[str, Any],
        module: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """See the module's documentation."""
        _validation, options = self.validate_argument_spec(
            {
                "instance": {"type": "str", "required": True},
                "dest": {"type": "path", "required": True},
                "evidence_of": {"type": "str"},
            }
        )
        dest = Path(os.path.normpath(check_path(options["dest"], _DEST)))
        directory = _prepared(dest, self._task.check_mode)
        path = directory / _file_name(task_vars["inventory_hostname"], options["evidence_of"])
        if self._task.check_mode:
            told = (
                f"Would collect an archive on this host, and fetch it to {path}. Nothing was asked."
            )
            return {"changed": True, "path": str(path), "msg": told}
        question = {"instance": options["instance"], "removed": options["evidence_of"] is not None}
        made = self._brought(task_vars, question, path)
        return {**made, "changed": True, "path": str(path)}

    def _brought(
        self, task_vars: dict[str, Any], question: Mapping[str, Any], path: Path
    ) -> dict[str, Any]:
        """Lets the host make an archive, and brings it to *path*; returns the host's answer.

        :param question: the instance, and whether it may have been removed.
        :raises TunnelError: if the host has none, or sends another one; then no file is made.
        """
        made = self._asked_for(task_vars, question, "made")
        try:
            _write(path, self._fetched(task_vars, question, made))
        except Unanswered:
            # It would not answer another question either; the next run removes the archive.
            raise
        except TunnelError:
            with contextlib.suppress(TunnelError):
                self._asked_for(task_vars, question, "absent")
            raise
        self._asked_for(task_vars, question, "absent")
        return made

    def _asked_for(
        self,
        task_vars: dict[str, Any],
        question: Mapping[str, Any],
        state: str,
        offset: int = 0,
    ) -> dict[str, Any]:
        """The host's checked answer.

        :raises TunnelError: if it has failed.
        """
        asked = {**question, "state": state, "offset": offset}
        answer = super().ask(task_vars, arguments=asked)
        if answer.get("failed"):
            raise TunnelError(
                task_vars["inventory_hostname"],
                str(answer.get("msg", "")).rstrip("."),
                "To try it there, run mcp-tunnel support on the host",
            )
        return answer

    def _fetched(
        self, task_vars: dict[str, Any], question: Mapping[str, Any], made: Mapping[str, Any]
    ) -> bytes:
        """The archive, of which the host has said size and SHA-256.

        :raises TunnelError: if it sends something else.
        """
        found, size, part = bytearray(), made["size"], b"\0" * PART
        # All parts but the last are whole ones.
        while len(found) < size and len(part) == PART:
            part = _decoded(self._asked_for(task_vars, question, "read", len(found))["content"])
            found += part
        if len(found) != size or hashlib.sha256(found).hexdigest() != made["sha256"]:
            raise TunnelError(
                task_vars["inventory_hostname"],
                "has not sent the archive that it has made",
                "Run support.yml again, while no other run of it does; if it stays so, treat the "
                "host as compromised",
            )
        return bytes(found)


def _decoded(content: str) -> bytes:
    """The bytes of a part; none if it is no base64."""
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _file_name(host: str, evidence_of: str | None) -> str:
    """A name by the inventory's name of the host, and by the controller's clock.

    Evidence of a breach has the machine in it as well: another one may have the name later.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", host)[:128].lstrip(".")
    machine = re.sub(r"[^0-9a-f]", "", evidence_of or "")[:64]
    parts = [plain, *(["breach"] if evidence_of is not None else []), machine]
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return f"{'-'.join(filter(None, [*parts, now]))}.tar.gz"


def _prepared(directory: Path, check_mode: bool) -> Path:
    """The real path of the directory. If it is missing, it is made for the running user alone.

    In check mode, a missing one is not made.

    :raises TunnelError: if it cannot be made, or others could exchange what is in it.
    """

    def refusal(found: Path, problem: str) -> TunnelError:
        return TunnelError(
            f"{_DEST} {directory}",
            f"is not used, because {found} {problem}, and so could exchange archives",
            "Name a directory that is yours alone",
        )

    try:
        if directory.exists():
            real = check_unchangeable(directory, refusal)
            if not real.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            return real
        if check_mode:
            return directory
        return ensure_private_directory(directory, refusal)
    except OSError as error:
        raise _stuck(directory, error) from None


def _write(path: Path, content: bytes) -> None:
    """Writes a new file, at once. None that is there is replaced.

    :raises TunnelError: if it cannot be written.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".support-")
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        finally:
            os.unlink(temporary)
    except OSError as error:
        raise _stuck(path, error) from None


def _stuck(path: Path, error: OSError) -> TunnelError:
    return TunnelError(
        f"{_DEST} {path}",
        f"cannot be written: {error.strerror or error}",
        "Make room there, or name another directory of yours",
    )
