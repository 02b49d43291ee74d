"""Make this checkout importable as a collection for plain pytest; ansible-test does it itself."""

from __future__ import annotations

import functools
import gc
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

# Every run uses the same examples; a slow one says nothing about the code,
# as booting hosts share the machine. pytest --hypothesis-profile=explore looks for new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", max_examples=5000, deadline=None)
hypothesis.settings.load_profile("repeatable")

_SUPPORT = "ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support"
_COLLECTIONS = Path(__file__).resolve().parents[2] / ".build" / "collections"
if _COLLECTIONS.is_dir():
    sys.path.insert(0, str(_COLLECTIONS))


def pytest_configure(config):
    """Give all processes of this run one directory for kept_playbook.py."""
    if not hasattr(config, "workerinput"):
        kept = os.environ["KEPT_MODULES"] = tempfile.mkdtemp(prefix="kept-modules-")
        config.add_cleanup(lambda: shutil.rmtree(kept))


def pytest_collection_finish(session):
    """Load once what ansible-test would load anew for each test, as it runs each in a fork.

    Python's garbage collector would visit, and so copy, all that is here already: it leaves that
    alone now.
    """
    if session.config.pluginmanager.hasplugin("ansible_forked"):
        for name in ("fakes.fake_api", "selinux"):
            importlib.import_module(f"{_SUPPORT}.{name}")
        if modules := sys.modules.get(f"{_SUPPORT}.modules"):
            modules.load_all()
        _openssl_ca()
        gc.collect()
        gc.freeze()


@functools.cache
def _openssl_ca():
    from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl

    with tempfile.TemporaryDirectory() as directory:
        return openssl.make_ca(Path(directory))


@pytest.fixture(scope="session")
def openssl_ca():
    """A compliant CA made by the openssl command line: (certificate PEM, key PEM)."""
    return _openssl_ca()


@pytest.fixture
def direct(monkeypatch):
    """No proxy, CA bundle or credential of the user who runs the tests."""
    names = [name for name in os.environ if name.lower().endswith("_proxy")]
    prefixes = ("AWS_", "ACTIONS_", "ANTHROPIC_", "SPIFFE_")
    names += [name for name in os.environ if name.startswith(prefixes)]
    for name in [*names, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def selinux(tmp_path, monkeypatch):
    """A host with SELinux."""
    from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.selinux import install

    return install(tmp_path / "selinux", monkeypatch)


@pytest.fixture
def pauses(monkeypatch):
    """Nobody waits; returns the seconds of the pauses."""
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


@pytest.fixture
def api(direct, pauses):
    """The Tunnels API in memory, on loopback."""
    from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes.fake_api import (
        FakeApi,
    )

    with FakeApi() as fake:
        yield fake
