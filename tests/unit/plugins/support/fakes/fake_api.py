"""The Tunnels API and token exchange in memory, as the reference describes them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import secrets
import ssl
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes.fake_http import (
    Answer,
    Asked,
    FakeHttp,
    json_answer,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.jwts import make_jwt
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import make_token

ORGANIZATION = "0b3c7f0a-8a5e-4f55-9d8e-2f0a7e1f4b2c"
_CALLS = (
    ("exchange", "POST", r"/v1/oauth/token"),
    ("create", "POST", r"/"),
    ("list", "GET", r"/"),
    ("get", "GET", r"/([^/]+)"),
    ("archive", "POST", r"/([^/]+)/archive"),
    ("reveal", "POST", r"/([^/]+)/reveal_token"),
    ("rotate", "POST", r"/([^/]+)/rotate_token"),
    ("add", "POST", r"/([^/]+)/certificates"),
    ("certificates", "GET", r"/([^/]+)/certificates"),
    ("archive_certificate", "POST", r"/([^/]+)/certificates/([^/]+)/archive"),
)
_BASE = re.compile(r"/v1/(?:organizations/)?tunnels")
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 529,
}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")


class Refusal(Exception):
    def __init__(self, kind: str, message: str) -> None:
        self.kind, self.message = kind, message


class FakeApi(FakeHttp):
    """``faults``: per call a list of what happens to its next occurrences, each one of the error
    types (before the effect), ``lost before``, ``lost after``, ``truncated``, ``late`` or ``very
    late`` (not answered, and taking effect just before or just after the next call of that name)
    or empty.
    """

    def __init__(self) -> None:
        super().__init__(self._respond)
        self.tunnels: list[dict[str, Any]] = []
        self.certificates: list[dict[str, Any]] = []
        self.tokens: dict[str, str] = {}
        self.reasons: list[str | None] = []
        self.calls: list[str] = []
        self.faults: dict[str, list[str]] = {}
        self.late: list[tuple[str, str, tuple[str, ...], Asked]] = []
        self.accepts_duplicates = False
        self.valid: set[str] = set()
        self.page_size = 1000
        self.lifetime = 3600  # seconds
        self.jwt = make_jwt()

    def options(self, **others: Any) -> dict[str, Any]:
        """Return module options that reach this server."""
        return {
            "api_url": self.url,
            "federation_rule_id": "fdrl_rule",
            "organization_id": ORGANIZATION,
            "service_account_id": "svac_account",
            "workspace_id": "wrkspc_space",
            "identity_source": "literal",
            "identity_literal": self.jwt,
            **others,
        }

    def add_tunnel(self, display_name: str | None = None, archived: bool = False) -> dict[str, Any]:
        tunnel = {
            "id": f"tnl_{secrets.token_hex(6)}",
            "type": "tunnel",
            "display_name": display_name,
            "domain": f"{secrets.token_hex(4)}.tunnel.anthropic.com",
            "created_at": _now(),
            "archived_at": _now() if archived else None,
        }
        self.tunnels.insert(0, tunnel)
        self.renew_token(tunnel["id"])
        return tunnel

    def renew_token(self, tunnel_id: str) -> None:
        self.tokens[tunnel_id] = make_token(str(uuid.uuid4()), secrets.token_bytes(32))

    def add_certificate(self, tunnel_id: str, pem: str) -> dict[str, Any]:
        active = self.active(tunnel_id)
        fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
        known = any(one["fingerprint"] == fingerprint for one in active)
        if known and not self.accepts_duplicates:
            raise Refusal("conflict_error", "already registered")
        if len(active) >= 2:
            raise Refusal("invalid_request_error", "at most two certificates")
        certificate = {
            "id": f"tcrt_{secrets.token_hex(6)}",
            "type": "tunnel_certificate",
            "tunnel_id": tunnel_id,
            "fingerprint": fingerprint,
            "created_at": _now(),
            "expires_at": (datetime.now(timezone.utc) + timedelta(days=99)).isoformat(),
            "archived_at": None,
        }
        self.certificates.insert(0, certificate)
        return certificate

    def active(self, tunnel_id: str) -> list[dict[str, Any]]:
        return [
            one
            for one in self.certificates
            if one["tunnel_id"] == tunnel_id and not one["archived_at"]
        ]

    def _respond(self, asked: Asked) -> Answer:
        path = _BASE.sub("", asked.path, count=1)
        call, arguments = "", ()
        for name, method, pattern in _CALLS:
            match = re.fullmatch(pattern, path or "/")
            if match and method == asked.method:
                call, arguments = name, match.groups()
        self.calls.append(call)
        request_id = ("request-id", f"req_{len(self.calls)}")
        fault = self.faults[call].pop(0) if self.faults.get(call) else ""
        if fault == "lost before":
            return Answer(silent=True)
        if fault in ("late", "very late"):
            self.late.append((fault, call, arguments, asked))
            return Answer(silent=True)
        self._arrive("late", call)
        try:
            if fault in _STATUS:
                raise Refusal(fault, "told to fail")
            if call != "exchange":
                self._authenticate(asked)
            answer = json_answer(200, self._do(call, arguments, asked), request_id)
        except Refusal as refusal:
            error = {"type": refusal.kind, "message": refusal.message}
            body = {"type": "error", "error": error, "request_id": request_id[1]}
            # Tests that are not about waiting do not wait.
            headers = [request_id, ("retry-after", "0")]
            return json_answer(_STATUS[refusal.kind], body, *headers)
        finally:
            self._arrive("very late", call)
        if fault == "lost after":
            return Answer(silent=True)
        if fault == "truncated":
            return Answer(200, answer.body, answer.headers, cut=len(answer.body) // 2)
        return answer

    def _arrive(self, when: str, call: str) -> None:
        """Let the due requests take effect."""
        for one in [one for one in self.late if one[:2] == (when, call)]:
            self.late.remove(one)
            # Nobody learns of a refusal.
            with contextlib.suppress(Refusal):
                self._do(*one[1:])

    def _authenticate(self, asked: Asked) -> None:
        if asked.headers.get("authorization", "").removeprefix("Bearer ") not in self.valid:
            raise Refusal("authentication_error", "invalid bearer token")

    def _do(self, call: str, arguments: tuple[str, ...], asked: Asked) -> object:
        if call == "exchange":
            token = "sk-ant-oat01-" + base64.urlsafe_b64encode(secrets.token_bytes(24)).decode()
            self.valid.add(token)
            return {
                "access_token": token,
                "token_type": "Bearer",
                "expires_in": self.lifetime,
                "scope": "workspace:manage_tunnels",
            }
        if call == "create":
            if sum(not one["archived_at"] for one in self.tunnels) >= 10:
                raise Refusal("invalid_request_error", "too many tunnels")
            return self.add_tunnel(asked.json.get("display_name"))
        if call == "list":
            return self._page(self.tunnels, asked)
        tunnel = next((one for one in self.tunnels if one["id"] == arguments[0]), None)
        if not tunnel:
            raise Refusal("not_found_error", "no such tunnel")
        return self._do_tunnel(call, tunnel, arguments, asked)

    def _do_tunnel(
        self, call: str, tunnel: dict[str, Any], arguments: tuple[str, ...], asked: Asked
    ) -> object:
        if call == "get":
            return tunnel
        if call == "archive":
            tunnel["archived_at"] = tunnel["archived_at"] or _now()
            return tunnel
        if call == "certificates":
            mine = [one for one in self.certificates if one["tunnel_id"] == tunnel["id"]]
            return self._page(mine, asked)
        if call == "add":
            return self.add_certificate(tunnel["id"], asked.json["ca_certificate_pem"])
        if call == "archive_certificate":
            found = next(one for one in self.certificates if one["id"] == arguments[1])
            found["archived_at"] = found["archived_at"] or _now()
            return found
        if call == "rotate":
            self.reasons.append(asked.json.get("reason"))
            self.renew_token(tunnel["id"])
        value = self.tokens[tunnel["id"]]
        token_id = f"ttkn_{hashlib.sha256(value.encode()).hexdigest()[:12]}"
        return {"id": token_id, "type": "tunnel_token", "tunnel_token": value}

    def _page(self, objects: list[dict[str, Any]], asked: Asked) -> dict[str, Any]:
        if asked.query.get("include_archived") != "true":
            objects = [one for one in objects if not one["archived_at"]]
        size = min(int(asked.query.get("limit", "20")), self.page_size)
        start = int(asked.query.get("page", "0"))
        more = str(start + size) if start + size < len(objects) else None
        return {"data": objects[start : start + size], "next_page": more}
