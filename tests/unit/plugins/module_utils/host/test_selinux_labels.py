"""SELinux labels, with a restorecon that keeps them in a file: none of our hosts has SELinux."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import selinux_labels


def test_nothing_is_asked_where_selinux_is_disabled(selinux, tmp_path):
    selinux.mislabel("/opt/mcp-tunnel/proxy/1/bin/tool")
    selinux.disable()
    assert selinux_labels.wrong(tmp_path) == selinux_labels.restore(tmp_path) == []
    assert selinux.commands() == []


def test_nothing_is_asked_where_there_is_no_restorecon(selinux, tmp_path, monkeypatch):
    monkeypatch.setattr(selinux_labels, "PROGRAMS", (tmp_path / "none",))
    assert selinux_labels.wrong(tmp_path) == selinux_labels.restore(tmp_path) == []


def test_nothing_is_asked_about_what_is_not_there(selinux, tmp_path):
    assert (
        selinux_labels.wrong(tmp_path / "none") == selinux_labels.restore(tmp_path / "none") == []
    )
    assert selinux.commands() == []


def test_looking_changes_nothing(selinux, tmp_path):
    paths = [str(tmp_path / "bin/tool"), str(tmp_path / "lib/a file")]
    for path in paths:
        selinux.mislabel(path)
    assert selinux_labels.wrong(tmp_path) == selinux_labels.wrong(tmp_path) == paths
    assert selinux_labels.restore(tmp_path) == paths
    assert selinux_labels.wrong(tmp_path) == selinux_labels.restore(tmp_path) == []


@pytest.mark.parametrize("look", [selinux_labels.wrong, selinux_labels.restore])
def test_a_restorecon_that_fails(selinux, tmp_path, look):
    selinux.fail("/etc/selinux: No such file or directory")
    with pytest.raises(TunnelError, match=r"restorecon failed: /etc/selinux.*restorecon -Rv"):
        look(tmp_path)


def test_what_earlier_ones_print(monkeypatch):
    line = "restorecon reset /opt/x/bin/a context u:object_r:usr_t:s0->u:object_r:bin_t:s0\n"
    assert selinux_labels._LINE.findall(line) == ["/opt/x/bin/a"]
