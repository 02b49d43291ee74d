# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decrypts and judges copies on the controller; the state host gets the state that fits."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.backups import folder, judge

_COPY_ON = "the copy on "
_ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "instance": {"type": "str", "required": True},
    "identity_file": {"type": "path", "required": True},
    "file": {"type": "path"},
    "copies": {"type": "dict", "default": {}},
    "domain": {"type": "str", "default": ""},
    "tunnel_id": {"type": "str", "default": ""},
    "trusted": {"type": "dict", "default": {}},
    "needed": {"type": "bool", "default": True},
    "encryption": {"type": "str", "choices": list(at_rest.CHOICES), "default": "none"},
}


class ActionModule(CheckedModule):
    """A copy that a host has kept is judged whole, and compared with what the replicas trust."""

    _VALID_ARGS = frozenset(_ARGUMENTS)

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """The host says no more than whether it has changed something."""
        return {}

    def ask(
        self,
        task_vars: dict[str, Any],
        module: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """See the module's documentation."""
        _validation, options = self.validate_argument_spec(_ARGUMENTS)
        wanted = _wanted(options)
        taken, reasons = _choose(options, wanted)
        if taken is None:
            if not (options["needed"] or reasons):
                return {"changed": False, "restored": False}
            return {"failed": True, "changed": False, "msg": _refusal(reasons, options["needed"])}
        given = {
            "path": options["path"],
            "instance": options["instance"],
            "encryption": options["encryption"],
            "made_at": taken.manifest.made_at,
            "files": {n: base64.b64encode(c).decode() for n, c in taken.state.files.items()},
        }
        self.keep_out_of_files("the state with the CA's key")
        answer = super().ask(task_vars, module, given)
        about = {n: getattr(taken.manifest, n) for n in ("made_at", "tunnel_id", "domain")}
        return {
            **answer,
            **about,
            "restored": not answer.get("failed", False),
            "source": taken.source,
            "vouchers": taken.vouchers(wanted, _keeper(taken)),
            "ca_fingerprint": taken.manifest.ca_fingerprint,
            "replicas": taken.replicas(),
            "reasons": reasons,
            "about": _about(taken, wanted, reasons),
        }


def _keeper(taken: judge.Candidate) -> str:
    """The replica that has kept a copy; empty for a file of the operator's."""
    source = taken.source
    return source.removeprefix(_COPY_ON) if source.startswith(_COPY_ON) else ""


def _about(taken: judge.Candidate, wanted: judge.Wanted, reasons: list[str]) -> list[str]:
    """Lines for people: who trusts the CA of the copy, and why others were not taken."""
    vouchers = taken.vouchers(wanted, _keeper(taken))
    lines = [f"Taken from {taken.source}."]
    if vouchers:
        lines.append(f"Trust this CA: {', '.join(vouchers)}.")
    elif _keeper(taken):
        lines.append(
            "No replica but the one that kept it trusts this CA: compare its fingerprint with that "
            "of the tunnel in the Console, as a hostile replica could have made both."
        )
    return [*lines, *(f"Not taken: {reason}" for reason in reasons)]


def _wanted(options: Mapping[str, Any]) -> judge.Wanted:
    return judge.Wanted(
        instance=options["instance"],
        domain=options["domain"],
        tunnel_id=options["tunnel_id"],
        trusted={n: f["ca.crt"] for n, f in options["trusted"].items() if f.get("ca.crt")},
        proof=not options["file"],
    )


def _choose(
    options: Mapping[str, Any], wanted: judge.Wanted
) -> tuple[judge.Candidate | None, list[str]]:
    """The copy to put back, and why others are not.

    :raises TunnelError: about the identity, or a file that cannot be read.
    """
    identities = judge.read_identities(Path(options["identity_file"]))
    passed, reasons = [], []
    for source, text in _copies(options):
        try:
            passed.append(judge.judge(text, identities, source, wanted))
        except TunnelError as error:
            reasons.append(str(error))
    now = time.time()
    newest = max(passed, key=lambda candidate: candidate.order(now), default=None)
    return newest, reasons


def _copies(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if options["file"]:
        yield options["file"], folder.read(Path(options["file"]))
        return
    for host, kept in options["copies"].items():
        if text := kept.get("contents", {}).get("state.age"):
            yield f"{_COPY_ON}{host}", str(text)


def _refusal(reasons: list[str], needed: bool) -> str:
    told = " ".join(reasons) or (
        "no replica keeps a copy of the state. Give a backup in mcp_tunnel_backup_file."
    )
    # Without a copy, a new CA is made, and the lost one is archived for good: not by mistake.
    other = "" if needed else " For a new CA, leave mcp_tunnel_backup_identity_file out."
    return f"Nothing was restored, and no host was changed: {told}{other}"
