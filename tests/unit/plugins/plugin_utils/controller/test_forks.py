"""Tests of what the forks of ansible-playbook inherit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import forks

COLLECTIONS = Path(forks.__file__).parents[6]
# In the process that forks, once the tasks are done.
CALLBACK = '''
DOCUMENTATION = """
name: spared
type: notification
short_description: Counts the objects that the collector leaves alone
description: [Counts them.]
"""
import gc
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    def v2_playbook_on_stats(self, stats):
        print("spared:", gc.get_freeze_count())
'''


def spared_after(directory, action):
    """Return how many objects the collector leaves alone, in a run of this task."""
    play = {"hosts": "all", "gather_facts": False, "tasks": [{action: {}}]}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    (directory / "spared.py").write_text(CALLBACK)
    done = subprocess.run(
        [*(sys.executable, "-m", "ansible.cli.playbook"), "-i", "a,", "play.yml"],
        cwd=directory,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_CALLBACK_PLUGINS": str(directory),
            "ANSIBLE_CALLBACKS_ENABLED": "spared",
            "ANSIBLE_LOCAL_TEMP": str(directory / "tmp"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    counts = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("spared:")]
    assert counts, done.stdout + done.stderr
    return int(counts[0])


# The task's own end does not matter: the plugin is loaded before.
@pytest.mark.parametrize("action", ["settings", "remaining"])
def test_the_collector_spares_what_is_loaded_before_forks(tmp_path, action):
    assert spared_after(tmp_path, f"mcp_tunnels.stack.{action}") > 10_000


def test_nothing_else_has_it_spare_them(tmp_path):
    assert spared_after(tmp_path, "ansible.builtin.debug") == 0
