from __future__ import annotations

import base64

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def test_an_old_library_is_named(monkeypatch):
    monkeypatch.setattr(crypto.cryptography, "__version__", "3.3.2")
    with pytest.raises(TunnelError) as caught:
        crypto.require_cryptography()
    message = str(caught.value)
    assert "is version 3.3.2" in message
    assert "38.0.0 or later" in message


def der(tag, content):
    """Return an element of DER, of at most 255 bytes."""
    size = bytes([len(content)]) if len(content) < 128 else bytes([0x81, len(content)])
    return bytes([tag]) + size + content


def put_together(secret, public):
    """Return a key (RFC 5915, PEM) with the scalar of one and the point of another."""
    point = public.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    scalar = secret.private_numbers().private_value.to_bytes(32, "big")
    curve = bytes.fromhex("06082a8648ce3d030107")
    parts = [der(2, b"\x01"), der(4, scalar), der(0xA0, curve), der(0xA1, der(3, b"\0" + point))]
    body = base64.b64encode(der(0x30, b"".join(parts))).decode()
    return f"-----BEGIN EC PRIVATE KEY-----\n{body}\n-----END EC PRIVATE KEY-----\n"


def test_a_key_with_the_public_part_of_another(monkeypatch):
    """It would prove the other one, which only its public part is known of."""
    own, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    assert crypto.load_private_key(put_together(own, own), "key")
    with pytest.raises(TunnelError, match="key:"):
        crypto.load_private_key(put_together(own, other), "key")

    class Loaded:
        """As cryptography up to 44 loads such a file."""

        curve = own.curve

        def private_numbers(self):
            return own.private_numbers()

        def public_key(self):
            return other.public_key()

    ec.EllipticCurvePrivateKey.register(Loaded)
    monkeypatch.setattr(crypto.serialization, "load_pem_private_key", lambda *_, **__: Loaded())
    with pytest.raises(TunnelError, match="has the public part of another key"):
        crypto.load_private_key("", "key")
