# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the variables of all hosts, and works out the plan. Makes no connection."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.container import (
    is_container,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.refusals import refusal
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import report, shared_problems
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    plan,
    unknown_names,
)

# Registered by mcp_tunnels.stack.settings, without output.
_SETTINGS = "__mcp_tunnel_settings"
# Registered by mcp_tunnels.stack.group.
_GROUP = "__mcp_tunnel_group"


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("duty", "fail"))

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        name = task_vars["inventory_hostname"]
        _validation, arguments = self.validate_argument_spec(
            {
                "duty": {"type": "str", "choices": list(plan.DUTIES), "default": "deploy"},
                "fail": {"type": "bool", "default": True},
            }
        )
        settings = task_vars.get(_SETTINGS)
        try:
            beside = _beside_the_others(task_vars.get(_GROUP), name)
            values, problems = _taken(settings)
        except TunnelError as error:
            result.update(failed=True, msg=f"{error} No host was touched.")
            return result
        problems += unknown_names.check_names(task_vars, values[unknown_names.OTHERS])
        judged = [
            *plan.check_values(values),
            *_check_controller(values, task_vars, arguments["duty"]),
            *check_library(values, arguments["duty"]),
        ]
        problems += [problem for problem in judged if problem.subject not in settings["undefined"]]
        texts = [str(problem) for problem in problems] + beside["problems"]
        if texts and arguments["fail"]:
            result.update(refusal(shared_problems.headline(name, texts), texts))
        elif texts:
            part = report.stopped(
                str(values["mcp_tunnel_instance"]), shared_problems.headline(name, texts)
            )
            result.update(changed=False, problems=texts, **report.statistics(part, part=True))
        else:
            made = plan.make_plan(
                values,
                beside["replicas"],
                beside["leader"],
                arguments["duty"],
                _rounds(task_vars, beside["soak"]),
                beside["canaries"],
                task_vars[_GROUP]["at"],
            )
            # Ansible shows the same text once, however many hosts have it.
            told = [*plan.warnings(values), *([f"{made['closed']}."] if made["closed"] else [])]
            result.update(made, changed=False, warnings=told)
        return result


def _rounds(task_vars: Mapping[str, Any], soak: int) -> plan.Rounds:
    sizes = task_vars[_GROUP]["waves"]["sizes"]
    hosts = len(task_vars["ansible_play_hosts_all"])
    return plan.Rounds.of(hosts, max(sizes, default=1), int(task_vars["ansible_forks"]), soak)


def _check_controller(
    values: Mapping[str, Any], task_vars: Mapping[str, Any], duty: str
) -> Iterator[TunnelError]:
    """Credentials in a container would end with the job, and so would backups."""
    if values["mcp_tunnel_state_is_persistent"] is True or not is_container(task_vars):
        return
    if duty == "backup":
        yield TunnelError(
            "mcp_tunnel_backup_dest",
            "is a directory of this controller, which is a container: the backup would end with it",
            "Mount a directory that stays there, and set mcp_tunnel_state_is_persistent: true",
        )
    if values["mcp_tunnel_state_host"] == "localhost":
        yield TunnelError(
            "mcp_tunnel_state_host",
            "is localhost, and this controller is a container: the CA's key would end with it",
            "Use a replica. Or mount a directory that stays at /var/lib/mcp-tunnel, and set "
            "mcp_tunnel_state_is_persistent: true",
        )


def check_library(values: Mapping[str, Any], duty: str) -> Iterator[TunnelError]:
    """The library for copies, where this controller encrypts or decrypts them itself."""
    encrypts = (
        values["mcp_tunnel_state_host"] == "localhost" and (values["mcp_tunnel_backup_recipients"])
    )
    decrypts = duty in ("restore", "recover") and values["mcp_tunnel_backup_identity_file"]
    if (encrypts or decrypts) and importlib.util.find_spec("pyrage") is None:
        yield TunnelError(
            "pyrage",
            f"is not installed for {sys.executable}, and this controller "
            f"{'decrypts' if decrypts else 'encrypts'} copies of the state with it",
            f"Run {sys.executable} -m pip install pyrage; the execution environment has it",
        )


def _beside_the_others(compared: Any, name: str) -> Mapping[str, Any]:
    """The result of comparing host *name* with the others of its group."""
    if not isinstance(compared, Mapping) or name not in compared.get("hosts", {}):
        raise TunnelError(
            _GROUP,
            f"does not have {name}, so nothing is known of the hosts beside it",
            "Run mcp_tunnels.stack.group before, for the group that has this host, and register "
            "its result under this name",
        )
    beside: Mapping[str, Any] = compared["hosts"][name]
    return beside


def _taken(settings: Any) -> tuple[dict[str, Any], list[TunnelError]]:
    """The variables that were taken from this host, and those without a value."""
    if not isinstance(settings, Mapping):
        raise TunnelError(
            _SETTINGS,
            "is not there, so the variables of this host are not known",
            "Run mcp_tunnels.stack.settings before, and register its result under this name",
        )
    problems = [
        TunnelError(name, f"has no value: {reason}", "Mend its source, or define what it uses")
        for name, reason in settings["undefined"].items()
    ]
    return dict(settings["variables"]), problems
