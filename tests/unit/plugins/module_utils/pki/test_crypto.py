from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto


def test_an_old_library_is_named(monkeypatch):
    monkeypatch.setattr(crypto.cryptography, "__version__", "3.3.2")
    with pytest.raises(TunnelError) as caught:
        crypto.require_cryptography()
    message = str(caught.value)
    assert "is version 3.3.2" in message
    assert "38.0.0 or later" in message
