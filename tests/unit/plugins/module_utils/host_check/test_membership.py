"""The memory that a replica has of its instance."""

from __future__ import annotations

import hashlib
import json

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check.membership import (
    remembered,
    standby,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.members import MOST

MARK = {"name": "b", "machine": "", "since": "2026-11-29T20:00:00Z", "evidence": ""}


def test_as_many_replicas_as_a_state_host_may_have(tmp_path):
    content = {"state_host": "a", "replicas": [f"a{number}" for number in range(MOST)]}
    file = tmp_path / "members.json"
    file.write_text(json.dumps(content))
    assert remembered(str(file)) == {**content, "breached": []}
    content["breached"] = [MARK]
    file.write_text(json.dumps(content))
    assert remembered(str(file)) == content


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[" * 100_000,
        '{"state_host": "a"}',
        '{"state_host": "a", "replicas": "a"}',
        '{"state_host": ["a"], "replicas": []}',
        json.dumps({"state_host": "a", "replicas": ["a"] * (MOST + 1)}),
        *(
            json.dumps({"state_host": "a", "replicas": [], "breached": marks})
            for marks in ({}, [{}], ["b"], [{**MARK, "since": 1}], [MARK] * (MOST + 1))
        ),
    ],
)
def test_anything_else_is_refused(tmp_path, content):
    file = tmp_path / "members.json"
    file.write_text(content)
    with pytest.raises(TunnelError, match=r"members\.json: cannot be read: .* remove the file"):
        remembered(str(file))


def test_no_file_is_no_memory(tmp_path):
    nothing = {"state_host": "", "replicas": [], "breached": []}
    assert remembered(str(tmp_path / "members.json")) == nothing


def test_the_copy_of_the_state_that_is_kept(tmp_path):
    path = tmp_path / "state.age"
    assert standby("") == standby(str(path)) == ""
    path.write_text("a copy\n")
    assert standby(str(path)) == hashlib.sha256(b"a copy\n").hexdigest()
    path.unlink()
    path.mkdir()
    with pytest.raises(TunnelError, match=r"state\.age: is not a regular file"):
        standby(str(path))
