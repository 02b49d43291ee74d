from __future__ import annotations

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    refused,
)

NAMES = ["ca.crt", "tunnel-id"]


def test_what_is_there_and_what_is_not(tmp_path):
    assert ensured("public_files", path=str(tmp_path / "none"), names=NAMES)["contents"] == {}
    (tmp_path / "tunnel-id").write_text(" tnl_01AbC\n")
    (tmp_path / "tunnel-domain").write_text("not asked for")
    result = ensured("public_files", path=str(tmp_path), names=NAMES)
    assert (result["changed"], result["contents"]) == (False, {"tunnel-id": "tnl_01AbC"})


def test_an_empty_file_is_there(tmp_path):
    (tmp_path / "ca.crt").touch()
    assert ensured("public_files", path=str(tmp_path), names=NAMES)["contents"] == {"ca.crt": ""}


def test_what_cannot_be_read_is_not_taken_for_missing(tmp_path):
    (tmp_path / "ca.crt").mkdir()
    message = refused("public_files", path=str(tmp_path), names=NAMES)
    assert f"{tmp_path / 'ca.crt'}: is not a regular file" in message
