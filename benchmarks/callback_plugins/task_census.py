"""Callback: writes the work of a playbook run, one JSON object per line.

The file is named by TASK_CENSUS_FILE. Lines: ``{"task": state, "host": …,
"name": …}`` for each task's result on a host, and ``{"module": name, "host": …}``
for each module execution, where the host is the address that it ran on, or
"controller". Module executions cost the time, and one task can need none
(debug), one or several (copy, loops, action plugins), so they are counted where
every one of them passes: at the base class of the action plugins.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_census
type: notification
short_description: Counts tasks and module executions per host
description:
  - Writes one JSON object per task result and per module execution to the file of TASK_CENSUS_FILE.
requirements: []
"""

_FILE = os.environ["TASK_CENSUS_FILE"]


def _write(**fields: str) -> None:
    # Workers are forked: one short append per line keeps lines whole.
    with open(_FILE, "a", encoding="utf-8") as output:
        output.write(json.dumps(fields) + "\n")


_execute_module = ActionBase._execute_module


def _counted(
    self: Any, module_name: str | None = None, *arguments: Any, **options: Any
) -> dict[str, Any]:
    local = self._connection.transport == "local"
    _write(
        module=module_name or self._task.action,
        host="controller" if local else self._play_context.remote_addr,
    )
    result: dict[str, Any] = _execute_module(self, module_name, *arguments, **options)
    return result


ActionBase._execute_module = _counted


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core has no types
    """Receives the results of tasks in the main process."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "task_census"
    CALLBACK_NEEDS_ENABLED = True

    def _task(self, state: str, result: Any) -> None:
        _write(task=state, host=result.host.get_name(), name=result.task_name)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._task("changed" if result.is_changed() else "ok", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._task("skipped", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._task("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._task("unreachable", result)
