"""The tunnels of one credential: each call's effect on the state, and the objects it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core import credentials
from . import authorities
from .errors import ApiError
from .paging import page
from .state import Certificate, State, Tunnel, now, rfc3339

_MAX_ACTIVE = 10
_MAX_CERTIFICATES = 2
_MAX_NAME = 255
Json = dict[str, Any]


def make(workspace_id: str, display_name: str | None = None, any_ca: bool = False) -> Tunnel:
    """Make up a tunnel, not kept yet."""
    fresh = credentials.Tunnel.make()
    return Tunnel(
        id=fresh.id,
        display_name=display_name,
        domain=fresh.domain,
        workspace_id=workspace_id,
        created_at=now(),
        archived_at=None,
        account=fresh.account,
        uuid=fresh.uuid,
        secret=fresh.secret,
        token_id=credentials.new_id("ttkn"),
        any_ca=any_ca,
        rotations=[],
        certificates=[],
    )


def owned(tunnel: Tunnel) -> credentials.Tunnel:
    """Return the tunnel as its owner knows it."""
    return credentials.Tunnel(
        tunnel["id"], tunnel["domain"], tunnel["account"], tunnel["uuid"], tunnel["secret"]
    )


def rotate(tunnel: Tunnel, reason: str | None) -> None:
    """Give the tunnel a new secret."""
    tunnel["secret"] = owned(tunnel).rotated().secret
    tunnel["token_id"] = credentials.new_id("ttkn")
    tunnel["rotations"].append(reason)


@dataclass(frozen=True)
class Tunnels:
    """The calls, on `state`. All raise ApiError.

    `workspace_id` limits them to the tunnels of one workspace; None is the organization's older
    surface, where all are seen and each carries its workspace.
    """

    state: State
    workspace_id: str | None

    def create(self, body: Mapping[str, Any]) -> Json:
        """Create a tunnel; doing so twice makes two."""
        name = body.get("display_name")
        if name is not None and not (isinstance(name, str) and 1 <= len(name) <= _MAX_NAME):
            raise ApiError(400, f"display_name: between 1 and {_MAX_NAME} characters")
        if sum(each["archived_at"] is None for each in self.state["tunnels"]) >= _MAX_ACTIVE:
            raise ApiError(
                409, f"Organization already has the maximum of {_MAX_ACTIVE} non-archived Tunnels"
            )
        assert self.workspace_id is not None, "the older surface has no create"
        tunnel = make(self.workspace_id, name)
        self.state["tunnels"].append(tunnel)
        return self._shown(tunnel)

    def get(self, tunnel_id: str) -> Json:
        return self._shown(self._find(tunnel_id))

    def list(self, query: Mapping[str, str]) -> Json:
        seen = [each for each in self.state["tunnels"] if self._sees(each)]
        return page(seen, self._shown, query)

    def archive(self, tunnel_id: str) -> Json:
        """Archive the tunnel and its certificates; the token is dead with it."""
        tunnel = self._find(tunnel_id)
        if tunnel["archived_at"] is None:
            tunnel["archived_at"] = moment = now()
            for certificate in tunnel["certificates"]:
                certificate["archived_at"] = certificate["archived_at"] or moment
        return self._shown(tunnel)

    def reveal_token(self, tunnel_id: str) -> Json:
        return self._token(self._find_active(tunnel_id))

    def rotate_token(self, tunnel_id: str, body: Mapping[str, Any]) -> Json:
        reason = body.get("reason")
        if reason is not None and not isinstance(reason, str):
            raise ApiError(400, "reason: a string")
        tunnel = self._find_active(tunnel_id)
        rotate(tunnel, reason)
        return self._token(tunnel)

    def add_certificate(self, tunnel_id: str, body: Mapping[str, Any]) -> Json:
        tunnel = self._find_active(tunnel_id)
        certificate = authorities.parse(body.get("ca_certificate_pem"))
        fingerprint = authorities.fingerprint(certificate)
        active = [each for each in tunnel["certificates"] if each["archived_at"] is None]
        if any(each["fingerprint"] == fingerprint for each in active):
            raise ApiError(409, f"a certificate with fingerprint {fingerprint} is registered")
        if len(active) >= _MAX_CERTIFICATES:
            raise ApiError(
                409, f"the tunnel has {_MAX_CERTIFICATES} certificates already; archive one first"
            )
        added = Certificate(
            id=credentials.new_id("tcrt"),
            fingerprint=fingerprint,
            pem=str(body["ca_certificate_pem"]),
            created_at=now(),
            expires_at=rfc3339(certificate.not_valid_after_utc),
            archived_at=None,
        )
        tunnel["certificates"].append(added)
        tunnel["any_ca"] = False
        return _shown_certificate(tunnel, added)

    def list_certificates(self, tunnel_id: str, query: Mapping[str, str]) -> Json:
        tunnel = self._find(tunnel_id)
        return page(tunnel["certificates"], lambda each: _shown_certificate(tunnel, each), query)

    def get_certificate(self, tunnel_id: str, certificate_id: str) -> Json:
        tunnel, certificate = self._find_certificate(tunnel_id, certificate_id)
        return _shown_certificate(tunnel, certificate)

    def archive_certificate(self, tunnel_id: str, certificate_id: str) -> Json:
        tunnel, certificate = self._find_certificate(tunnel_id, certificate_id)
        certificate["archived_at"] = certificate["archived_at"] or now()
        return _shown_certificate(tunnel, certificate)

    def _sees(self, tunnel: Tunnel) -> bool:
        return self.workspace_id in (None, tunnel["workspace_id"])

    def _find(self, tunnel_id: str) -> Tunnel:
        for tunnel in self.state["tunnels"]:
            if tunnel["id"] == tunnel_id and self._sees(tunnel):
                return tunnel
        raise ApiError(404, f"tunnel {tunnel_id} not found")

    def _find_active(self, tunnel_id: str) -> Tunnel:
        tunnel = self._find(tunnel_id)
        if tunnel["archived_at"] is not None:
            raise ApiError(409, f"tunnel {tunnel_id} is archived")
        return tunnel

    def _find_certificate(self, tunnel_id: str, certificate_id: str) -> tuple[Tunnel, Certificate]:
        tunnel = self._find(tunnel_id)
        for certificate in tunnel["certificates"]:
            if certificate["id"] == certificate_id:
                return tunnel, certificate
        raise ApiError(404, f"certificate {certificate_id} not found on tunnel {tunnel_id}")

    def _shown(self, tunnel: Tunnel) -> Json:
        names = ("id", "display_name", "domain", "created_at", "archived_at")
        shown: Json = {"type": "tunnel", **{name: tunnel[name] for name in names}}  # type: ignore[literal-required]
        if self.workspace_id is None:
            shown["workspace_id"] = tunnel["workspace_id"]
        return shown

    @staticmethod
    def _token(tunnel: Tunnel) -> Json:
        token = owned(tunnel).token
        return {"type": "tunnel_token", "id": tunnel["token_id"], "tunnel_token": token}


def _shown_certificate(tunnel: Tunnel, certificate: Certificate) -> Json:
    shown: Json = {"type": "tunnel_certificate", "tunnel_id": tunnel["id"], **certificate}
    del shown["pem"]
    return shown
