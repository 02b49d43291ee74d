# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the variables of a host as the operator has set them. Makes no connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers import own_names
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import forks, job
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options

# The inventory and all plays are read by now.
forks.spare_objects()


class ActionModule(ActionBase):
    """Runs on the controller only, and says nothing: the values may be secrets."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation. It never fails: that would not be shown."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            own_names.check_facts(task_vars["inventory_hostname"], task_vars.get("ansible_facts"))
        except TunnelError:
            # The preflight reports it, where the report can be read. Nothing is evaluated.
            variables: dict[str, Any] = dict(role_options.defaults())
            undefined: dict[str, str] = {}
        else:
            variables, undefined = self._evaluate(task_vars)
        variables = role_options.as_meant(variables, job.is_platform_job(task_vars))
        result.update(changed=False, variables=variables, undefined=undefined)
        return result

    def _evaluate(self, task_vars: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """All public variables with their defaults, and the reasons why some have no value."""
        variables = dict(role_options.defaults())
        undefined = {}
        for name in variables:
            if name not in task_vars:
                continue
            try:
                variables[name] = _decrypted(self._templar.template(task_vars[name]))
            except AnsibleError as error:
                # The first line says what is undefined; the rest quotes the template.
                undefined[name] = str(error).partition("\n")[0]
        return variables, undefined


def _decrypted(value: Any) -> Any:
    """The value with plain texts for those that are encrypted one by one in the inventory.

    Before ansible-core 2.19, such a text is an object that is no text until somebody asks for it.
    """
    if type(value).__name__ == "AnsibleVaultEncryptedUnicode":
        return str(value)
    if isinstance(value, Mapping):
        return {name: _decrypted(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_decrypted(item) for item in value]
    return value
