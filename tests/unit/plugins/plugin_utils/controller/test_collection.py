"""The version of this collection, in a checkout and where it is installed."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import collection


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "ROOT", tmp_path)
    collection.version.cache_clear()
    yield tmp_path
    collection.version.cache_clear()


def test_a_checkout_has_it_in_galaxy_yml(root):
    (root / "galaxy.yml").write_text("namespace: mcp_tunnels\nversion: 1.2.3\n")
    assert collection.version() == "1.2.3"


def test_an_installed_collection_has_it_in_its_manifest(root):
    (root / "MANIFEST.json").write_text(json.dumps({"collection_info": {"version": "2.0.0"}}))
    assert collection.version() == "2.0.0"


@pytest.mark.parametrize("text", ["", "[]", "version", "collection_info: 1"])
def test_without_it_the_collection_is_named(root, text):
    for name in ("galaxy.yml", "MANIFEST.json"):
        (root / name).write_text(text)
        with pytest.raises(TunnelError, match="does not state its version"):
            collection.version()
