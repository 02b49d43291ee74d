# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes an inventory of a deployment of the vendor's. Makes no connection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import check_path
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.ca import validate_ca
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.refusals import refusal
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports import (
    deployment,
    inventory,
    judge,
    place,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.files import Files
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.told import told
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.vaults import Vault
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    role_options,
    unknown_names,
)

# Registered by mcp_tunnels.stack.settings, without output.
_SETTINGS = "__mcp_tunnel_settings"
_SRC, _DEST, _REPLACE = (f"mcp_tunnel_import_{name}" for name in ("src", "dest", "replace"))
_HEADLINE = "Nothing was imported"


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        settings = task_vars[_SETTINGS]
        problems = _check(settings, task_vars)
        if not problems:
            try:
                return {**result, **self._import(settings["variables"])}
            except TunnelError as error:
                problems = [error]
        return {**result, **refusal(_HEADLINE, problems)}

    def _import(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The result.

        :raises TunnelError: if something is in the way that hides the rest.
        """
        files, root = Files(values[_SRC]), Path(values[_DEST])
        found, problems = deployment.collect(files)
        judged = judge.judge(found, files)
        problems += judged.problems
        for check in (lambda: place.check(root, files.root), lambda: Vault(self._loader)):
            try:
                check()
            except TunnelError as error:
                problems.append(error)
        if problems:
            return refusal(_HEADLINE, problems)
        changes = inventory.changes(root, judged.variables, Vault(self._loader))
        if not values[_REPLACE] and (edited := [one for one in changes if one.before is not None]):
            return refusal(_HEADLINE, [one.not_overwritten() for one in edited])
        if not self._task.check_mode:
            inventory.write(root, changes)
        ca = validate_ca(judged.variables["mcp_tunnel_ca_cert"])["fingerprint"]
        lines = told(values[_SRC], root, changes, judged.notes, ca, found)
        result: dict[str, Any] = {"changed": bool(changes), "msg": lines}
        if self._task.diff:
            result["diff"] = [change.diff() for change in changes]
        return {**result, "_ansible_verbose_always": True}


def _check(settings: Mapping[str, Any], task_vars: Mapping[str, Any]) -> list[TunnelError]:
    """The problems with the variables of the import itself."""
    values = settings["variables"]
    problems = [
        TunnelError(name, f"has no value: {reason}", "Define what it uses")
        for name, reason in settings["undefined"].items()
        if name in (_SRC, _DEST, _REPLACE)
    ]
    problems += unknown_names.check_names(task_vars, values[unknown_names.OTHERS])
    told_of = {problem.subject for problem in problems}
    for name in sorted({_SRC, _DEST} - told_of):
        try:
            check_path(values[name], name)
        except TunnelError as error:
            problems.append(error)
    types = role_options.type_problems(values)
    return problems + [problem for problem in types if problem.subject == _REPLACE]
