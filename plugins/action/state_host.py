# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds an instance on its state host, in the name of this run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.ssh_keys import (
    MOST_HOST_KEYS,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
    names_in,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    CERTIFICATE,
    FINGERPRINT,
    HOST_KEY,
    HOST_NAME,
    IDENTIFIER,
    MARKED,
    Rule,
    domain,
    either,
    empty,
    flag,
    list_of,
    matching,
    number,
    record,
    subset,
    text,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.this_run import (
    has_ended,
    this_run,
)

_MARK = matching("[0-9a-f]{16}", "mark of 16 hexadecimal digits")
_HOLDER = {
    "id": _MARK,
    "owner": text(200),
    "controller": _MARK,
    "process": matching("[0-9]{1,10}:[0-9]{0,20}", "process"),
    "since": matching("[0-9TZ:-]{20}", "time in UTC"),
    "seconds": number(0, 1 << 31),
}
_HELD = {
    "holder": either(record({}), record(_HOLDER)),
    "present": flag,
    "contents": record(
        {"ca.crt": CERTIFICATE, "tunnel-id": IDENTIFIER, "tunnel-domain": domain},
        optional=("ca.crt", "tunnel-id", "tunnel-domain"),
    ),
    "missing": list_of(HOST_NAME, 500),
    "host_keys": list_of(HOST_KEY, MOST_HOST_KEYS),
    "noted": flag,
    "standby": either(FINGERPRINT, empty),
    "already_stored": flag,
    "misfit": text(),
}


class ActionModule(CheckedModule):
    """Takes over from a run of this controller that has ended; refuses beside any other."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        if arguments.get("state") == "released":
            return {}
        token, due = either(FINGERPRINT, empty), subset(("ca", "token"))
        breach = record({"token": token, "due": due, "marked": _marks(arguments)})
        return {**_HELD, "breach": breach}

    def optional(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """A refused run learns the holder of the lease, and nothing else."""
        return tuple(name for name in (*_HELD, "breach") if name != "holder")

    def keeps_books(self) -> bool:
        """The lease changes nothing of the tunnel. A note of its replicas and their keys does."""
        return not boolean(self._task.args.get("note", False), strict=False)

    def ask(
        self,
        task_vars: dict[str, Any],
        module: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """See the module's documentation."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        given = {**self._task.args, "run": this_run(task_vars), "seen_at": now}
        answer = super().ask(task_vars, module, given)
        if answer.get("holder") and has_ended(answer["holder"]):
            given["break_lease"] = answer["holder"]["id"]
            answer = super().ask(task_vars, module, given)
        if answer.get("holder"):
            raise _refusal(str(given["instance"]), answer["holder"])
        # By this clock alone a run judges whether to ask for longer.
        return {**answer, "at": time.time()} if "holder" in answer else answer


def _marks(arguments: Mapping[str, Any]) -> Rule:
    """The marks that an honest state host can have: each of this run, and of nobody who gets more.

    It would have refused such a run. Others would remember these marks as well.
    """
    named = set(arguments.get("breached") or {})
    served = set(names_in(arguments.get("credentials_for", [])))

    def rule(value: Any) -> str:
        wrong = list_of(MARKED, 500)(value)
        marked = set() if wrong else {each["name"] for each in value}
        if not wrong and named - marked:
            return "has no mark of a host that is broken into"
        return wrong or ("marks a host that it lets have credentials" if served & marked else "")

    return rule


def _refusal(instance: str, holder: Mapping[str, Any]) -> TunnelError:
    minutes = -(-holder["seconds"] // 60)
    return TunnelError(
        f"Instance {instance}",
        f"another run is changing it, since {holder['since']}: {holder['owner']}",
        "Wait for its end, and run again. If it has ended without a word (a cancelled job, a "
        f"controller that is gone), its lease ends in {minutes} minutes; or set "
        f"mcp_tunnel_break_lease: {holder['id']} for one run. No replica of the tunnel was touched",
    )
