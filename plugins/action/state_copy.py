# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has a state host encrypt a copy of its state; with a dest, keeps it on the controller."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import encryption, recipients
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
    names_in,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    FINGERPRINT,
    IDENTIFIER,
    domain,
    either,
    empty,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.backups import folder
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.collection import version

_VARIABLE = "mcp_tunnel_backup_recipients"
_TOLD = ("tunnel_id", "domain", "ca_fingerprint", "state", "made_at", "recipients")


def _armored(value: Any) -> str:
    """A copy that age has encrypted, as far as this shows without an identity."""
    return encryption.why_not_armored(value) if isinstance(value, str) else "is no text"


class ActionModule(CheckedModule):
    """Names of files are made here; what the host says becomes the content of a file at most."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return {
            "state": FINGERPRINT,
            "content": either(_armored, empty),
            "tunnel_id": either(IDENTIFIER, empty),
            "domain": either(domain, empty),
            "ca_fingerprint": either(FINGERPRINT, empty),
        }

    def ask(
        self,
        task_vars: dict[str, Any],
        module: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """See the module's documentation."""
        given = dict(self._task.args)
        dest, instance = given.pop("dest", None), str(given["instance"])
        keys = recipients.check_recipients(names_in(given.get("recipients")), _VARIABLE)
        digest = recipients.digest(keys)
        dest = os.path.expanduser(dest) if dest else ""
        last = folder.newest(Path(dest), instance) if dest else None
        if last and last.about.recipients == digest:
            given["unless"] = last.about.state
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        given.update(recipients=keys, made_at=now, made_by=version())
        answer = super().ask(task_vars, module, given)
        if answer.get("failed"):
            return answer
        is_needed = answer["state"] != given.get("unless") and not self._task.check_mode
        if is_needed and not answer["content"]:
            # It would take the place of a copy that is whole.
            raise TunnelError(
                str(given["path"]), "was copied without a content", "Look at that host"
            )
        answer.update(made_at=now, seen_at=now, recipients=digest)
        if not dest:
            text = answer["content"]
            return {**answer, "sha256": folder.sha256_of(text) if text else ""}
        text = answer.pop("content")
        if last and given.get("unless") == answer["state"]:
            return _there(last, answer)
        return self._kept(Path(dest), answer, instance, text)

    def _kept(self, dest: Path, answer: dict[str, Any], instance: str, text: str) -> dict[str, Any]:
        """The result once the copy is in the folder, or would be."""
        result = {**answer, "file": str(dest), "sha256": "", "changed": True}
        if self._task.check_mode:
            return result
        about = folder.Description(
            instance=instance,
            sha256=folder.sha256_of(text),
            size=len(text),
            made_by=version(),
            **{name: answer[name] for name in _TOLD},
        )
        return {**result, "file": str(folder.write(dest, text, about)), "sha256": about.sha256}


def _there(last: folder.Backup, answer: dict[str, Any]) -> dict[str, Any]:
    """The result where the folder has a copy of this state."""
    about = {"made_at": last.about.made_at, "sha256": last.about.sha256}
    return {**answer, **about, "file": str(last.path), "changed": False}
