"""Tunnel tokens for tests."""

from __future__ import annotations

import base64
import json

UUID = "6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c"
OTHER_UUID = "11111111-2222-4333-8444-555555555555"
SECRET = b"planted-tunnel-secret-0123456789"


def encode(fields: object) -> str:
    return base64.b64encode(json.dumps(fields).encode()).decode()


def make_token(tunnel_uuid: str = UUID, secret: bytes = SECRET) -> str:
    secret_text = base64.b64encode(secret).decode()
    return encode({"a": "0123456789abcdef0123456789abcdef", "t": tunnel_uuid, "s": secret_text})
