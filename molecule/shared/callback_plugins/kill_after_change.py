"""Kills ansible-playbook, as a lost terminal or an out-of-memory killer would, right after the
first result that says "changed"; with KILL_AFTER, the first one of a task that is named there."""

from __future__ import annotations

import os
import signal
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: kill_after_change
type: aggregate
short_description: Kill the run after its first change
description:
  - For the test that an interrupted run is completed by the next one.
  - The environment variable KILL_AFTER names the tasks that count, one a line; without it, all do.
  - A task is named as TASK, or as TASK on HOST.
requirements: [enabled in configuration]
"""


class CallbackModule(CallbackBase):
    """See DOCUMENTATION."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_after_change"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result: Any) -> None:
        """Kill the process group, workers included, if this result changed something."""
        tasks = os.environ.get("KILL_AFTER", "").splitlines()
        task = result._task.get_name()
        here = f"{task} on {result._host.get_name()}"
        if result._result.get("changed") and (not tasks or task in tasks or here in tasks):
            print(f"KILLED after: {here}", flush=True)
            os.killpg(os.getpgrp(), signal.SIGKILL)
