"""How many calls a run costs: one access token is shared by modules that are processes."""

from __future__ import annotations

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook

from contract.site import check_nothing_left

FIRST = [
    *("exchange", "list", "create", "reveal_token"),
    *("list_certificates", "add_certificate"),
]
IDLE = ["exchange", "get", "reveal_token", "list_certificates"]
HERE = {
    "ansible_connection": "local",
    "ansible_python_interpreter": "{{ ansible_playbook_python }}",
}


def test_calls_of_a_first_run_and_of_one_without_changes(site, tmp_path):
    """One playbook runs the modules twice, each time with a session of its own."""
    path = str(site.path)
    run = [
        {"mcp_tunnels.stack.tunnel": {"path": path}},
        {"mcp_tunnels.stack.tunnel_token": {"path": path, "provisioning": "wif"}},
        {"mcp_tunnels.stack.tunnel_ca": {"path": path, "provisioning": "wif"}},
        {
            "ansible.builtin.file": {"path": str(site.session_file), "state": "absent"},
            "changed_when": False,
        },
    ]
    defaults = {"group/mcp_tunnels.stack.api": site.options}
    play = [{"block": run * 2, "module_defaults": defaults}]
    status, output = run_playbook(tmp_path, play, {"localhost": HERE})
    assert status == 0, output
    assert "changed=3 " in output  # those of the first run
    assert [entry["call"] for entry in site.api.audit()] == FIRST + IDLE
    check_nothing_left(site)


def test_calls_of_a_prediction(site):
    """Check mode only reads, except for the access token, which the next module needs."""
    for module, calls in (
        ("tunnel", ["exchange", "list"]),
        ("tunnel_token", []),
        ("tunnel_ca", []),
    ):
        seen = len(site.api.audit())
        assert site.module(module, check=True).changed
        assert [entry["call"] for entry in site.api.audit()[seen:]] == calls
    assert site.api.ask("status")["tunnels"] == []
    assert not site.path.exists()
    site.session_file.unlink()
