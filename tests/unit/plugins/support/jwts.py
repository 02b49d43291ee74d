"""Identity tokens for tests. Their signature is not valid: only services check it."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

SIGNATURE = "cGxhbnRlZC1zaWduYXR1cmUtMDEyMzQ1Njc4OQ"


def encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def make_jwt(header: dict[str, Any] | None = None, **claims: Any) -> str:
    """Return a token as the exchange wants it; claims and header can be replaced, None removes."""
    now = int(time.time())
    whole = {
        "iss": "https://issuer.example",
        "sub": "host:state",
        "aud": "https://api.anthropic.com",
        "iat": now,
        "exp": now + 600,
        **claims,
    }
    parts = [{"alg": "RS256", "kid": "key-1", **(header or {})}, whole]
    texts = [
        encode({name: value for name, value in part.items() if value is not None}) for part in parts
    ]
    return ".".join([*texts, SIGNATURE])
