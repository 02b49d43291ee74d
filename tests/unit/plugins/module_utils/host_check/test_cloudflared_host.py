from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import (
    cloudflared as cloudflared_host,
)


@pytest.mark.parametrize(
    "place", ["etc/cloudflared/config.yml", "usr/local/etc/cloudflared/config.yaml"]
)
def test_a_foreign_configuration_is_named(tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text("tunnel: other\n")
    (warning,) = cloudflared_host.warnings(tmp_path)
    assert warning.startswith(f"{path}: ")


def test_other_files_of_the_vendor_are_nobodys_business(tmp_path):
    path = tmp_path / "etc/cloudflared/cert.pem"
    path.parent.mkdir(parents=True)
    path.write_text("")
    assert cloudflared_host.warnings(tmp_path) == []


def test_a_host_without_any(tmp_path):
    assert cloudflared_host.warnings(tmp_path) == []
