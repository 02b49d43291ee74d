"""Labs for the tests. Each has a name of its own, so that tests and other labs may overlap."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.core.paths import LabPaths
from lab.supervision import facts, lifecycle
from lab.tests.platforms import Api, Identity
from lab.tests.support import RunningLab

_numbers = itertools.count()


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a lab that does not exist; if the test makes it, it is ended afterwards."""
    name = f"t{os.getpid() % 10000}x{next(_numbers)}"
    yield name
    lifecycle.down(LabPaths(name))


@pytest.fixture(scope="session")
def two() -> Iterator[RunningLab]:
    """host1 with Debian 12 and host2 with Debian 13, for tests that leave them as they are."""
    name = f"s{os.getpid() % 10000000}"
    paths = lifecycle.up(name, 2, ["12", "13"])
    yield RunningLab(paths)
    lifecycle.down(paths)


@pytest.fixture
def two_is_up(two: RunningLab) -> None:
    """Ends the run if the shared lab is gone: every further test would fail for it."""
    if gone := facts.gone(two.paths):
        pytest.exit(gone, returncode=pytest.ExitCode.INTERNAL_ERROR)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test that uses the shared lab first checks that it is still there."""
    for item in items:
        if isinstance(item, pytest.Function) and "two" in item.fixturenames:
            item.fixturenames.insert(0, "two_is_up")


@pytest.fixture
def fake_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a shell script of the given name in front of the machine's tools."""
    directory = tmp_path / "tools"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def add(name: str, script: str) -> None:
        path = directory / name
        path.unlink(missing_ok=True)  # a shell may be reading it
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return add


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    """The identity platforms."""
    made = Identity(tmp_path_factory.mktemp("identity"))
    yield made
    made.kill()


@pytest.fixture(scope="session")
def _api(tmp_path_factory: pytest.TempPathFactory, identity: Identity) -> Iterator[Api]:
    made = Api(tmp_path_factory.mktemp("api"), identity)
    yield made
    made.kill()


@pytest.fixture
def api(_api: Api) -> Api:
    """A Tunnels API that has seen nothing yet."""
    _api.reset()
    return _api
