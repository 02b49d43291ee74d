"""Kills ansible-playbook when everything is provisioned, and no replica is deployed yet."""

from __future__ import annotations

import os
import signal
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: kill_before_deployment
type: aggregate
short_description: Kill the run before its first deployment
description: For tests of what a run does once, however many replicas there are.
requirements: [enabled in configuration]
"""


class CallbackModule(CallbackBase):
    """See DOCUMENTATION."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_before_deployment"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Kill the process group, workers included, when the deployment begins."""
        if play.get_name().startswith("Deploy"):
            print("KILLED before the deployment", flush=True)
            os.killpg(os.getpgrp(), signal.SIGKILL)
