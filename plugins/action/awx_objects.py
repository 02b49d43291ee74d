# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the objects of AWX or Tower with the modules of awx.awx, once all of them are judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.awx import (
    documented,
    failures,
    kinds,
    names,
    objects,
    workflows,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.awx.objects import Object
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.refusals import refusal


class ActionModule(ActionBase):
    """Runs on the controller only; the modules that it calls connect to AWX."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("collection", "connection", "objects", "own"))

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {
                "collection": {"type": "str", "default": "awx.awx"},
                "connection": {"type": "dict", "default": {}, "no_log": True},
                "objects": {"type": "dict", "required": True},
                "own": {"type": "list", "elements": "dict", "default": []},
            }
        )
        made, problems = objects.merged(arguments["objects"], arguments["own"])
        problems += names.check(task_vars)
        asked: list[tuple[Object, str, Mapping[str, Any]]] = []
        try:
            documented.options(f"{arguments['collection']}.organization")
            problems += documented.unknown_connection(
                arguments["collection"], arguments["connection"]
            )
            for one in made:
                asked += _questions(one, arguments["collection"], problems)
        except TunnelError as error:
            problems = [error]
        problems += (
            [] if not asked else [*objects.without_secret(made), *objects.without_value(made)]
        )
        if problems:
            headline = "The objects of AWX have problems; nothing was changed"
            return {**result, **refusal(headline, problems)}
        return {**result, **self._make(asked, arguments["connection"], task_vars)}

    def _make(
        self,
        asked: list[tuple[Object, str, Mapping[str, Any]]],
        connection: Mapping[str, Any],
        task_vars: Any,
    ) -> dict[str, Any]:
        """Ask AWX for each object. The first that it refuses ends it."""
        changed: dict[str, bool] = {}
        warnings: list[str] = []
        #: In check mode: what would be there by now.
        missing: set[tuple[str, str]] = set()
        for one, module, options in asked:
            if missing & set(kinds.references(options)):
                # AWX cannot be asked for an object that names one which is not there yet.
                answer: dict[str, Any] = {"changed": True}
            else:
                answer = self._execute_module(
                    module_name=module,
                    module_args={**connection, **options},
                    task_vars=task_vars,
                )
            if answer.get("failed"):
                error = failures.refused(one.title, answer, len(changed))
                return refusal(f"AWX refused {one.title}", [error])
            warnings += answer.get("warnings", [])
            changed[one.title] = changed.get(one.title, False) or bool(answer.get("changed"))
            if self._task.check_mode and answer.get("changed") and "id" not in answer:
                missing.add((one.kind, one.name))
        return _told(changed, warnings)


def _questions(
    one: Object, collection: str, problems: list[TunnelError]
) -> list[tuple[Object, str, Mapping[str, Any]]]:
    """The calls of modules that make an object; what is wrong with them goes to *problems*."""
    whole = f"{collection}.{kinds.MODULES[one.kind]}"
    if one.kind != "controller_workflows":
        problems += documented.problems(whole, one.title, one.item)
        return [(one, whole, one.item)]
    try:
        options, nodes = workflows.split(one)
    except TunnelError as error:
        problems.append(error)
        return []
    problems += documented.problems(whole, one.title, options)
    node_module = f"{collection}.{kinds.NODE}"
    for node in nodes:
        title = f"{one.title}, node {node['identifier']}"
        problems += documented.problems(node_module, title, node)
    return [(one, whole, options), *((one, node_module, node) for node in nodes)]


def _told(changed: Mapping[str, bool], warnings: list[str]) -> dict[str, Any]:
    """The result: which objects were made or changed, and what AWX has warned of, once."""
    new = [title for title, is_new in changed.items() if is_new]
    return {
        "changed": bool(new),
        "msg": [f"{len(new)} of {len(changed)} objects changed.", *(f"  {title}" for title in new)],
        "objects": [{"object": title, "changed": is_new} for title, is_new in changed.items()],
        "warnings": list(dict.fromkeys(warnings)),
        "_ansible_verbose_always": True,
    }
