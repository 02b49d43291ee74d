"""The calls of nft, and the use of its answers; the scenarios call the real one."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import table as nft_table


@pytest.fixture
def nft(tmp_path, monkeypatch):
    """Replace nft by a shell script."""

    def replace(script):
        path = tmp_path / "nft"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(nft_table, "NFT", str(path))
        return tmp_path

    return replace


def test_rules_arrive_as_they_are(nft):
    directory = nft('echo "$@" >> "$(dirname "$0")/calls"; cat >> "$(dirname "$0")/rules"')
    nft_table.check("table inet mcp_tunnel { }\n")
    nft_table.load("table inet mcp_tunnel { }\n")
    nft_table.delete()
    assert (directory / "calls").read_text() == "-c -f -\n-f -\n-f -\n"
    assert (directory / "rules").read_text() == (
        "table inet mcp_tunnel { }\n" * 2 + "delete table inet mcp_tunnel\n"
    )


def test_a_refusal_is_quoted(nft):
    nft('echo "/dev/stdin:3:1-9: Error: syntax error" >&2; seq 20 >&2; exit 1')
    with pytest.raises(TunnelError) as caught:
        nft_table.load("nonsense")
    text = str(caught.value)
    assert "line 3:1-9: Error: syntax error" in text
    assert "those of before stay" in text
    assert "\n    7" in text
    assert "\n    8" not in text


def test_a_crash_is_said(nft):
    nft("kill -SEGV $$")
    with pytest.raises(TunnelError, match="nothing; it ended with status -11"):
        nft_table.check("")


def test_a_host_without_nft(monkeypatch, tmp_path):
    monkeypatch.setattr(nft_table, "NFT", str(tmp_path / "nft"))
    assert nft_table.listing() is None
    with pytest.raises(TunnelError, match="Install the package nftables"):
        nft_table.check("")


def test_a_host_without_the_table(nft):
    nft('echo "Error: No such file or directory" >&2; exit 1')
    assert nft_table.listing() is None


def test_a_listing(nft):
    nft("""echo '{"nftables": [{"table": {"name": "mcp_tunnel"}}]}'""")
    assert nft_table.listing() == [{"table": {"name": "mcp_tunnel"}}]


def test_a_listing_that_nobody_may_make(nft):
    nft('echo "Error: Operation not permitted (you must be root)" >&2; exit 1')
    with pytest.raises(TunnelError, match="Operation not permitted"):
        nft_table.listing()
