"""The judgement of the release on disk, and the time that the proxy waits for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp_proxy.config.model import Address
from mcp_proxy.process import succession


async def judged(monkeypatch: pytest.MonkeyPatch, *program: str) -> list[str]:
    monkeypatch.setattr(succession, "_program", lambda: [*program])
    return await succession.objections("proxy.yaml")


async def test_a_release_that_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await judged(monkeypatch, "/bin/sh", "-c", "echo ok") == []


async def test_a_release_that_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    said = await judged(monkeypatch, "/bin/sh", "-c", "echo one; echo two >&2; exit 1")
    assert said == ["one", "two"]


async def test_a_release_that_fails_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await judged(monkeypatch, "/bin/sh", "-c", "exit 3") == ["exit status 3"]


async def test_a_release_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = await judged(monkeypatch, "/nowhere/python3")
    assert said.startswith("the release on disk cannot be run: ")


async def test_a_release_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(succession, "_PATIENCE", 0.1)
    (said,) = await judged(monkeypatch, "/bin/sh", "-c", "exec sleep 600")
    assert said == "the release on disk has not judged the configuration within 0.1 s"


def test_what_a_later_release_leaves_beside_what_is_known() -> None:
    """After a way back to this release."""
    address: dict[str, Any] = {"host": "127.0.0.1", "port": 8080}
    left = {
        "listen": {**address, "later": 1},
        "admin": {**address, "port": 8081, "later": 1},
        "admin_sockets": 1,
        "workers": [[7, 300, "later"]],
        "later": 1,
    }
    environ = {succession._LEGACY: json.dumps(left)}
    assert succession.legacy(environ) == succession.Legacy(
        Address("127.0.0.1", 8080), Address("127.0.0.1", 8081), 1, [(7, 300)]
    )
    assert environ == {}
