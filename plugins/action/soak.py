# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits while a canary serves, and judges it beside the others. Makes no connection."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.refusals import refusal
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout import comparison, figures
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.canaries import PIECE

_ARGUMENTS = {
    "state": {"type": "str", "required": True, "choices": ["waited", "judged"]},
    "seconds": {"type": "float", "default": 0},
    "since": {"type": "float", "default": 0},
    "canary": {"type": "str", "default": ""},
    "first": {"type": "list", "elements": "dict", "default": []},
    "last": {"type": "list", "elements": "dict", "default": []},
}
Counts = Mapping[str, Mapping[str, Any]]


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(_ARGUMENTS)

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(_ARGUMENTS)
        if arguments["state"] == "waited":
            left = arguments["since"] + arguments["seconds"] - time.time()
            # A clock that was set back does not make it longer.
            time.sleep(min(max(left, 0), arguments["seconds"], PIECE))
            result.update(changed=False)
        else:
            first, last = (_counts(arguments[name]) for name in ("first", "last"))
            result.update(_judged(arguments["canary"], first, last))
        return result


def _counts(results: Sequence[Mapping[str, Any]]) -> Counts:
    """The answers of the hosts that gave one."""
    return {each["item"]: each for each in results if "at" in each}


def _judged(canary: str, first: Counts, last: Counts) -> dict[str, Any]:
    headline = f"{canary} passed the gate, and does not do as well as it should"
    if canary not in first or canary not in last:
        return refusal(headline, ["Its proxy did not say what it has counted."])
    own = figures.growth(first[canary]["traffic"], last[canary]["traffic"])
    if own is None:
        return refusal(headline, ["Its proxy was restarted meanwhile, and began to count anew."])
    verdict = _verdict(own, canary, first, last)
    told = f"{canary}, the canary, {verdict.summary}."
    if verdict.problems:
        return {**refusal(headline, verdict.problems), "judged": True}
    shown = {"msg": told, "_ansible_verbose_always": True}
    warned = {"warnings": [f"{told} The gate's proof is all that counts for it."]}
    return {"changed": False, "judged": verdict.judged, **(shown if verdict.judged else warned)}


def _verdict(own: figures.Figures, canary: str, first: Counts, last: Counts) -> comparison.Verdict:
    """Of the replicas beside it that have counted all the time; without any, of its own past."""
    found = {}
    for name in first.keys() & last.keys() - {canary}:
        grown = figures.growth(first[name]["traffic"], last[name]["traffic"])
        if grown is not None:
            found[name] = grown
    if found:
        return comparison.judge_beside(own, found)
    before = first[canary]["before"]
    known = figures.read(before) if before else None
    return comparison.judge(own, known or figures.Figures(), "before the change")
