"""The laboratory's Tunnels API, and state directories that are provisioned from it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from lab.tests.platforms import Api, Identity

# Makes this checkout importable as a collection, as tests/unit does.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".build" / "collections"))


@pytest.fixture(scope="session", autouse=True)
def direct():
    """Hide the proxy, CA bundle and credentials of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.lower().endswith("_proxy") or name.startswith("ANTHROPIC_"):
                patch.delenv(name)
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def identity(tmp_path_factory):
    """The identity platforms."""
    made = Identity(tmp_path_factory.mktemp("identity"))
    yield made
    made.kill()


@pytest.fixture(scope="session")
def running_api(tmp_path_factory, identity):
    made = Api(tmp_path_factory.mktemp("api"), identity)
    yield made
    made.kill()


@pytest.fixture
def lab_api(running_api):
    """A Tunnels API that has seen nothing yet."""
    running_api.reset()
    return running_api


@pytest.fixture(scope="session")
def identity_file(tmp_path_factory, identity):
    """A good identity token, as a platform mounts it."""
    path = tmp_path_factory.mktemp("platform") / "token"
    path.write_text(identity.token(lifetime=3600))
    return path


@pytest.fixture(scope="session")
def session_file():
    """The file in which a run keeps its access token; it has to be below /run."""
    path = Path(f"/run/mcp-tunnel-contract-{os.getpid()}")
    yield path / "default"
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def site(lab_api, tmp_path, identity_file, session_file):
    """An instance that was never provisioned."""
    from contract.site import Site

    return Site(lab_api, tmp_path / "state", identity_file, session_file)


@pytest.fixture(scope="session")
def provisioned(running_api, tmp_path_factory, identity_file, session_file):
    """The state that a first run leaves, for instances to begin with."""
    from contract.site import Site, Snapshot

    running_api.reset()
    site = Site(
        running_api, tmp_path_factory.mktemp("first") / "state", identity_file, session_file
    )
    assert not site.provision().failed
    return Snapshot(running_api.directory.store.read(), site.path, site.options)


@pytest.fixture
def hurry(lab_api, monkeypatch):
    """Shorten waits: pauses, and timeouts for answers that a test knows will not come."""
    from contract.hurry import Hurry

    made = Hurry(lab_api)
    made.install(monkeypatch)
    return made
