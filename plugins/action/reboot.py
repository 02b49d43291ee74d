# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reboots a host, and waits until the same host answers as a machine that was booted anew."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import INSTANCE
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
    Unanswered,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    flag,
    list_of,
    matching,
)

_MARK = matching("[0-9a-f]{16}", "identity of a machine")
_NAMES = list_of(matching(INSTANCE.pattern, "name of an instance"), most=256)
_PAUSE = 1.0  # seconds between two questions
_PATIENCE = 30  # seconds for one answer: a connection from before the reboot may hang
_DEFAULT = 600


class ActionModule(CheckedModule):
    """ansible.builtin.reboot would run commands that a host's answers lead to."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return {"machine": _MARK, "needed": flag, "interrupted": flag, "in_service": _NAMES}

    def ask(
        self,
        task_vars: dict[str, Any],
        module: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """See the module's documentation."""
        given = self._task.args if arguments is None else arguments
        if self._connection.transport == "local":
            raise TunnelError(
                str(task_vars["inventory_hostname"]),
                "is the controller of this run, which its reboot would end",
                "Run from another machine; or run drain.yml for it, reboot it, and run undrain.yml",
            )
        answer = super().ask(task_vars, module, dict(given))
        reboots = given.get("state", "rebooted") == "rebooted"
        if reboots and not self._task.check_mode and not answer.get("failed"):
            self._await(task_vars, answer["machine"], int(given.get("timeout", _DEFAULT)))
        return answer

    def _await(self, task_vars: dict[str, Any], before: str, seconds: int) -> None:
        """Waits until the host answers with another mark than *before*.

        :raises TunnelError: if it does not in time, or answers as no host does.
        """
        self.patience = _PATIENCE
        host = str(task_vars["inventory_hostname"])
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._reconnect()
            if self._mark(task_vars) not in ("", before):
                return
            time.sleep(_PAUSE)
        raise TunnelError(
            host,
            f"has not come back within {seconds} seconds after its reboot",
            "Look at its console. Once it is up, run the playbook again, which completes it. If it "
            "only needs longer, raise mcp_tunnel_reboot_timeout",
        )

    def _mark(self, task_vars: dict[str, Any]) -> str:
        """The mark of the machine that answers, empty while none does."""
        try:
            answer = super().ask(task_vars, None, {"state": "looked"})
        except (AnsibleError, Unanswered):
            # Ansible has several words for a host that is not there yet, or not ready for sudo.
            return ""
        # A module that is killed by the reboot gives half an answer.
        return "" if answer.get("failed") else str(answer["machine"])

    def _reconnect(self) -> None:
        """Gives up a connection from before the reboot, which may be dead without saying so."""
        try:
            self._connection.reset()
        except (AnsibleError, AttributeError):
            # Not every connection has something to reset.
            return
