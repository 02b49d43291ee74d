"""The API's state: one JSON file that several processes may read and change."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TypedDict

from ..core.credentials import write_secret


class Certificate(TypedDict):
    """A CA registered on a tunnel. Times are RFC 3339."""

    id: str
    fingerprint: str
    pem: str
    created_at: str
    expires_at: str
    archived_at: str | None


class Tunnel(TypedDict):
    """A tunnel. `account`, `uuid` and `secret` make its token; `token_id` names the token's value.

    `rotations` holds the reasons given; `any_ca` says that the edge does not check CAs, as for
    the tunnel for manual mode until a CA is registered.
    """

    id: str
    display_name: str | None
    domain: str
    workspace_id: str
    created_at: str
    archived_at: str | None
    account: str
    uuid: str
    secret: str
    token_id: str
    any_ca: bool
    rotations: list[str | None]
    certificates: list[Certificate]


class Workspace(TypedDict):
    id: str
    name: str
    default: bool


class ServiceAccount(TypedDict):
    """`workspaces` are the ids of the workspaces that it is a member of."""

    id: str
    workspaces: list[str]


class Rule(TypedDict):
    """A federation rule. `subject` may end in `*`; `claims` must be equal; scopes stand in
    `scope`, separated by blanks; `token_lifetime` and `max_lifetime` (of JWTs) in seconds."""

    id: str
    issuer: str
    subject: str
    audience: str
    claims: dict[str, object]
    service_account_id: str
    workspaces: list[str]
    scope: str
    token_lifetime: int
    max_lifetime: int


class AccessToken(TypedDict):
    """A token that was given out: its SHA-256 (hex), not its value. `expires` in Unix seconds."""

    sha256: str
    expires: float
    scope: str
    workspace_id: str
    service_account_id: str


class UsedJwt(TypedDict):
    """An identity token with a `jti` that was exchanged. `expires` in Unix seconds."""

    issuer: str
    jti: str
    expires: float


class State(TypedDict):
    """Everything. Lists are in the order of creation."""

    organization_id: str
    workspaces: list[Workspace]
    service_accounts: list[ServiceAccount]
    rules: list[Rule]
    access_tokens: list[AccessToken]
    used_jwts: list[UsedJwt]
    tunnels: list[Tunnel]


@dataclass(frozen=True)
class Store:
    """The state in the file `path` (0600): replaced whole, so that no reader sees half of it."""

    path: Path

    def read(self) -> State:
        """Return the state as it is now. Raises OSError."""
        state: State = json.loads(self.path.read_text())
        return state

    def create(self, state: State) -> None:
        """Begin with `state`."""
        write_secret(self.path, json.dumps(state, indent=1))

    @contextlib.contextmanager
    def change(self) -> Iterator[State]:
        """Keep the body's changes to the state; if the body raises, nothing changes."""
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self.read()
            yield state
            self.create(state)


def now() -> str:
    """Return this moment as the API writes it."""
    return rfc3339(datetime.now(timezone.utc))


def rfc3339(moment: datetime) -> str:
    """Return `moment` (UTC) as the API writes it."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
