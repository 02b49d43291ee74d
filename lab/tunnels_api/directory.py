"""The directory of a Tunnels API.

state.json      tunnels, tokens, certificates, rules (0600); state.lock beside it
audit.jsonl     the audit log
control.sock    the control API
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from ..core import credentials
from . import tunnels
from .audit import Audit
from .state import ServiceAccount, State, Store, Workspace


@dataclass(frozen=True)
class ApiDirectory:
    """Paths below one directory."""

    path: Path

    @property
    def store(self) -> Store:
        return Store(self.path / "state.json")

    @property
    def audit(self) -> Audit:
        return Audit(self.path / "audit.jsonl")

    @property
    def control(self) -> Path:
        return self.path / "control.sock"

    def fill(self, manual_tunnel: bool = False) -> State:
        """Begin with an organization, its default workspace, and a service account.

        A tunnel for manual mode is the first one, in a workspace of its own, where programs do
        not see it; the edge accepts any CA for it until one is registered.
        """
        workspace = Workspace(id=credentials.new_id("wrkspc"), name="Default", default=True)
        account = ServiceAccount(id=credentials.new_id("svac"), workspaces=[workspace["id"]])
        workspaces, made = [workspace], []
        if manual_tunnel:
            manual = Workspace(id=credentials.new_id("wrkspc"), name="Manual", default=False)
            workspaces.append(manual)
            made.append(tunnels.make(manual["id"], "manual mode", any_ca=True))
        state = State(
            organization_id=str(uuid.uuid4()),
            workspaces=workspaces,
            service_accounts=[account],
            rules=[],
            access_tokens=[],
            used_jwts=[],
            tunnels=made,
        )
        self.store.create(state)
        return state
