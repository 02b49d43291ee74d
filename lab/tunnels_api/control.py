"""The control API of the Tunnels API: actions as in the vendor's Console, and faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.credentials import new_id
from ..core.errors import LabError
from ..wire import control
from .application import Api
from .errors import ApiError
from .state import Rule, ServiceAccount, State, Workspace
from .tunnels import Tunnels, rotate

_LIFETIME = 3600
_TOKEN_LIFETIME = 600
_SCOPE = "workspace:manage_tunnels org:manage_tunnels"
Json = dict[str, Any]


@dataclass(frozen=True)
class ApiControl:
    """The verbs, and the objects that they change."""

    api: Api

    def server(self) -> control.Control:
        """Return the server of the verbs."""
        faults = self.api.faults
        return control.Control(
            {
                "status": self.status,
                "audit": self.api.audit.read,
                "fault": faults.add,
                "faults": faults.facts,
                "clear-faults": faults.clear,
                "add-workspace": self.add_workspace,
                "add-service-account": self.add_service_account,
                "add-rule": self.add_rule,
                "rotate": self.rotate,
                "register-ca": self.register_ca,
            }
        )

    def status(self) -> Json:
        """Everything but secrets."""
        state: Json = dict(self.api.store.read())
        state["access_tokens"] = len(state["access_tokens"])
        hidden = ("account", "secret")
        state["tunnels"] = [
            {name: value for name, value in each.items() if name not in hidden}
            for each in state["tunnels"]
        ]
        return {**state, "faults": self.api.faults.facts()}

    def add_workspace(self, name: str) -> Workspace:
        workspace = Workspace(id=new_id("wrkspc"), name=name, default=False)
        with self.api.store.change() as state:
            state["workspaces"].append(workspace)
        return workspace

    def add_service_account(self, workspaces: list[str]) -> ServiceAccount:
        """Add one that is a member of these workspaces (ids)."""
        account = ServiceAccount(id=new_id("svac"), workspaces=list(workspaces))
        with self.api.store.change() as state:
            for workspace in workspaces:
                _known(state, workspace)
            state["service_accounts"].append(account)
        return account

    def add_rule(self, **options: Any) -> Rule:
        """Add a federation rule; options as of `new_rule`."""
        with self.api.store.change() as state:
            rule = new_rule(state, **options)
            state["rules"].append(rule)
        return rule

    def rotate(self, tunnel_id: str) -> Json:
        """Rotate a tunnel's token as someone in the Console would."""
        with self.api.store.change() as state:
            for tunnel in state["tunnels"]:
                if tunnel["id"] == tunnel_id:
                    rotate(tunnel, "rotated in the Console")
                    return {"token_id": tunnel["token_id"]}
        raise LabError(f"there is no tunnel {tunnel_id}")

    def register_ca(self, tunnel_id: str, pem: str) -> Json:
        """Register a CA as someone in the Console would."""
        with self.api.store.change() as state:
            try:
                body = {"ca_certificate_pem": pem}
                return Tunnels(state, None).add_certificate(tunnel_id, body)
            except ApiError as error:
                raise LabError(str(error)) from None


def new_rule(
    state: State,
    issuer: str,
    subject: str,
    audience: str = "https://api.anthropic.com",
    claims: Json | None = None,
    service_account_id: str | None = None,
    workspaces: list[str] | None = None,
    scope: str = _SCOPE,
    token_lifetime: int = _TOKEN_LIFETIME,
    max_lifetime: int = _LIFETIME,
) -> Rule:
    """Return a rule, by default for the first service account and the default workspace.

    Raises LabError if there is no such workspace.
    """
    covered = workspaces or [each["id"] for each in state["workspaces"] if each["default"]]
    for workspace in covered:
        _known(state, workspace)
    return Rule(
        id=new_id("fdrl"),
        issuer=issuer,
        subject=subject,
        audience=audience,
        claims=claims or {},
        service_account_id=service_account_id or state["service_accounts"][0]["id"],
        workspaces=covered,
        scope=scope,
        token_lifetime=token_lifetime,
        max_lifetime=max_lifetime,
    )


def _known(state: State, workspace: str) -> None:
    if workspace not in [each["id"] for each in state["workspaces"]]:
        raise LabError(f"there is no workspace {workspace}")
