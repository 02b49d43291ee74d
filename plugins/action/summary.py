# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums up a run over all tunnels, for people and for programs. Makes no connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import (
    remaining,
    report,
    summary,
)

# The results in which a failure is found, the last one first.
_RESULTS = (
    "__mcp_tunnel_failure",
    "ansible_failed_result",
    "__mcp_tunnel_refused",
    "__mcp_tunnel_support",
    "__mcp_tunnel_health",
    "__mcp_tunnel_applied",
    "__mcp_tunnel_boot",
    "__mcp_tunnel_drained",
    "__mcp_tunnel_undrained",
    "__firewall_loaded",
    "__cloudflared_file_set",
    "__proxy_file_set",
    "__cloudflared_release",
    "__proxy_release",
    "__mcp_tunnel_wiped",
    "__mcp_tunnel_removed",
    # Of the leader: the credentials, and the lease of the instance.
    "__provision_token",
    "__provision_ca",
    "__provision_tunnel",
    "__provision_refused",
    "__provision_agreed",
    "__provision_held",
    "__mcp_tunnel_host",
)


# Set once a replica is in the hands of stop_tunnel.yml. Ansible keeps ansible_failed_result of
# failures that a run gets over as well.
_STOPS = "__mcp_tunnel_stops"
# Those of the run's work on a host; and those that say who is drained, the last one first.
_WORK = (
    "__mcp_tunnel_applied",
    "__mcp_tunnel_drained",
    "__mcp_tunnel_undrained",
    "__mcp_tunnel_support",
)
_UNREACHED = "it could not be reached."
# Failures of hosts that stay in the run.
_OF_HOSTS_HERE = ("ansible_failed_result", "__mcp_tunnel_support")
_DRAINS = (
    "__mcp_tunnel_drained_again",
    "__mcp_tunnel_undrained",
    "__mcp_tunnel_drained",
    "__mcp_tunnel_health",
)


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("ended", "shown"))

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {
                "ended": {"type": "bool", "default": True},
                "shown": {"type": "bool", "default": True},
            }
        )
        here = set(task_vars["ansible_play_hosts"])
        for group in (remaining.FAILED, remaining.NOT_LET_GO):
            here.difference_update(task_vars["groups"].get(group, []))
        # Each host is read once: its variables are worked out anew every time.
        found = {
            name: _Found(task_vars["hostvars"][name], name in here)
            for name in task_vars["ansible_play_hosts_all"]
        }
        hosts = {name: each.host() for name, each in found.items()}
        reached = task_vars.get("__mcp_tunnel_reached", {})
        ready = task_vars.get("__mcp_tunnel_ready", {})
        stopped = {name: " ".join(told) for name, told in ready.get("stopped", {}).items()}
        stopped.update(reached.get("stopped", {}))
        few = task_vars.get("__mcp_tunnel_availability", {}).get("stopped", {})
        stopped.update({name: " ".join(told) for name, told in few.items()})
        left_out = reached.get("left_out", [])
        why = summary.ends(hosts, stopped, left_out)
        tunnels = {
            instance: _tunnel(
                {name: found[name] for name in replicas},
                why[instance],
                left_out,
                arguments["ended"],
            )
            for instance, replicas in summary.by_tunnel(hosts).items()
        }
        duty = next((each.plan["duty"] for each in found.values() if "duty" in each.plan), "")
        made = report.make(duty, bool(self._task.check_mode), tunnels)
        result.update(changed=False, **report.statistics(made))
        if arguments["shown"]:
            told = summary.lines(hosts, stopped, left_out)
            result.update(msg=told, _ansible_verbose_always=True)
        return result


class _Found:
    """The results that the plays before have registered for one host."""

    def __init__(self, hostvars: Mapping[str, Any], is_here: bool) -> None:
        self._hostvars = hostvars
        self._is_here = is_here
        self.plan: Mapping[str, Any] = hostvars.get("mcp_tunnel_plan", {})
        self.health: Mapping[str, Any] = self.get("__mcp_tunnel_health")
        self.removed = self._has_succeeded("__mcp_tunnel_removed")

    def get(self, name: str) -> Mapping[str, Any]:
        """A registered result; an empty one if there is none, or the task was skipped."""
        if name == "ansible_failed_result" and _STOPS not in self._hostvars:
            return {}
        value = self._hostvars.get(name)
        return {} if not isinstance(value, Mapping) or value.get("skipped") else value

    def _has_succeeded(self, name: str) -> bool:
        found = self.get(name)
        return bool(found) and not (found.get("failed") or found.get("unreachable"))

    def host(self) -> summary.Host:
        return summary.Host(
            instance=str(self.plan.get("instance", "")),
            domain=self.plan.get("domain", ""),
            failure=self._failure(),
            touched=not self._hostvars.keys().isdisjoint(_WORK),
        )

    def drained(self) -> bool:
        """Whether it is away from the edge, as the last of several results has it."""
        return next(
            (bool(each["drained"]) for each in map(self.get, _DRAINS) if "drained" in each), False
        )

    def _failure(self) -> str:
        if self.get("ansible_failed_result").get("unreached") and not self._is_here:
            return _UNREACHED
        for name in _RESULTS:
            found = self.get(name)
            if (found.get("unreachable") or found.get("unreached")) and not self._is_here:
                return _UNREACHED
            # A host that has been put back is here until its refusal.
            if found.get("failed") and (not self._is_here or name in _OF_HOSTS_HERE):
                return summary.reason(found)
        if held := self.get("__mcp_tunnel_support").get("secrets"):
            return f"files were left out, because they hold secrets: {', '.join(held)}."
        if self.health.get("healthy") is False:
            return summary.reason(self.health)
        return "" if self._is_here else "it failed, or could not be reached any more; see above."


def _tunnel(
    found: Mapping[str, _Found], why: list[str], left_out: list[str], ended: bool
) -> report.Tunnel:
    """The report about one tunnel."""
    plan = next(each.plan for each in found.values())
    away = [name for name in plan.get("replicas", []) if name in set(left_out)]
    drained = [name for name, each in found.items() if each.drained()]
    healthy = [
        name
        for name, each in found.items()
        if each.health.get("healthy") is True and name not in drained
    ]
    unhealthy = [name for name, each in found.items() if each.health.get("healthy") is False]
    removed = [name for name, each in found.items() if each.removed]
    told = {*healthy, *unhealthy, *removed, *away, *drained}
    done = report.DONE if ended else report.UNFINISHED
    held = _first(found, "__provision_held")
    authority = _first(found, "__provision_ca")
    trusted = (str(each.health.get("ca_fingerprint", "")) for each in found.values())
    return report.Tunnel(
        status=report.STOPPED if why else done,
        why=why,
        mode=str(plan.get("mode", "")),
        domain=next((str(e.plan["domain"]) for e in found.values() if e.plan.get("domain")), ""),
        tunnel_id=next(_tunnel_ids(found, held), ""),
        state_host=str(plan.get("state_host", "")),
        healthy=healthy,
        unhealthy=unhealthy,
        unproven=[name for name in plan.get("replicas", []) if name not in told],
        removed=removed,
        drained=drained,
        left_out=away,
        missing=[str(name) for name in held.get("missing", [])],
        ca=report.ca(str(plan.get("mode", "")), authority, next(filter(None, trusted), "")),
    )


def _tunnel_ids(found: Mapping[str, _Found], held: Mapping[str, Any]) -> Iterator[str]:
    """The IDs of the tunnel that are known, the surest first."""
    for name in ("__provision_tunnel", "__provision_token"):
        if known := _first(found, name).get("tunnel_id"):
            yield str(known)
    if stored := held.get("contents", {}).get("tunnel-id"):
        yield str(stored)
    given = _first(found, "__mcp_tunnel_settings").get("variables", {}).get("mcp_tunnel_id")
    if given:
        yield str(given)


def _first(found: Mapping[str, _Found], name: str) -> Mapping[str, Any]:
    """A result that was registered for one of the replicas, for the leader."""
    return next((value for each in found.values() if (value := each.get(name))), {})
