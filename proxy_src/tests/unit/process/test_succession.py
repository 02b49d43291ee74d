"""The judgement of the release on disk, and the time that the proxy waits for it."""

from __future__ import annotations

import pytest
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
