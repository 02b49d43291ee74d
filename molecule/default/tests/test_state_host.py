"""The CA stays the registered one, whatever happens to the inventory."""

from __future__ import annotations

from replicas import HOSTS, play, shell

CA = "sha256sum /etc/mcp-tunnel/default/ca.crt"


def test_another_state_host_does_not_get_a_ca_of_its_own() -> None:
    """An inventory in another order would make the last host the first, which is the default."""
    before = [shell(name).check_output(CA) for name in HOSTS]
    done = play("--extra-vars", f"mcp_tunnel_state_host={HOSTS[-1]}")
    assert done.returncode != 0, done.stdout
    assert "PLAY [Ship the releases]" not in done.stdout
    assert "mcp_tunnel_state_host" in done.stdout
    assert [shell(name).check_output(CA) for name in HOSTS] == before
    assert not shell(HOSTS[-1]).file("/var/lib/mcp-tunnel/default").exists
