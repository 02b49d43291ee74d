"""Makes this checkout importable as a collection for plain pytest; ansible-test does it itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_COLLECTIONS = Path(__file__).resolve().parents[2] / ".build" / "collections"
if _COLLECTIONS.is_dir():
    sys.path.insert(0, str(_COLLECTIONS))


@pytest.fixture(scope="session")
def openssl_ca(tmp_path_factory):
    """A compliant CA that the openssl command line has made: (certificate PEM, key PEM)."""
    from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl

    return openssl.make_ca(tmp_path_factory.mktemp("openssl-ca"))
