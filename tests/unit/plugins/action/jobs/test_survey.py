"""A job with the extra variables that AWX makes of a survey: texts, marked as unsafe."""

from __future__ import annotations

import yaml
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

TEMPLATE = "/run/{{ lookup('pipe', 'touch ' ~ inventory_dir ~ '/ran') }}"
ANSWERS = {
    "mcp_tunnel_routes": "echo: http://10.0.0.1:8000\nwiki: http://10.0.0.2:8000\n",
    "mcp_tunnel_identity": yaml.safe_dump({"source": "file", "file": TEMPLATE}),
    "mcp_tunnel_health_timeout": "90",
    "mcp_tunnel_batch": "",
    "mcp_tunnel_token_version": "",
    "mcp_tunnel_forget": "",
    "mcp_tunnel_archive": "",
    "cloudflared_loglevel": "",
    "proxy_access_log": "yes",
}


class _Dumper(yaml.SafeDumper):
    """Marks each text, as AWX does."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("!unsafe", text, style="'")
)


def test_a_run_takes_them_as_they_come(tmp_path):
    """A template in them stays data, in every module that gets it."""
    simulation = Simulation(tmp_path, "wif")
    extra = tmp_path / "extra.yml"
    extra.write_text(yaml.dump({**ANSWERS, "awx_job_id": 7}, Dumper=_Dumper))
    status, output = simulation.run("site", "-e", "@extra.yml")
    assert status == 0, output[-3000:]
    assert not (tmp_path / "ran").exists()
    calls = simulation.calls()
    identities = {
        call["arguments"]["identity_file"] for call in calls if call["module"] == "tunnel"
    }
    assert identities == {TEMPLATE}
    looked = [call["arguments"] for call in calls if call["module"] == "replica_health"]
    assert {tuple(each["routes"]) for each in looked} == {("echo", "wiki")}
    assert {each["timeout"] for each in looked} == {90}


def test_a_text_area_without_a_map_is_one_error(tmp_path):
    simulation = Simulation(tmp_path)
    routes = "mcp_tunnel_routes='echo http://10.0.0.1:8000'"
    status, output = simulation.run("verify", "-e", routes)
    assert status != 0
    assert "1 problem in the variables of host1; no host was touched" in output
    assert "mcp_tunnel_routes: must be a map" in output
    assert simulation.calls() == []


def test_lists_on_a_command_line_without_quotes(tmp_path):
    simulation = Simulation(tmp_path)
    lists = "mcp_tunnel_forget=[host3] mcp_tunnel_required_routes=[echo]"
    status, output = simulation.run("site", "-e", lists)
    assert status == 0, output[-3000:]
    calls = simulation.calls()
    held = [call for call in calls if call["module"] == "state_host"]
    assert held[0]["arguments"]["forget"] == ["host3"]
    looked = [call["arguments"] for call in calls if call["module"] == "replica_health"]
    assert {tuple(each["required_routes"]) for each in looked} == {("echo",)}


def test_a_name_in_place_of_a_list_is_one_error(tmp_path):
    simulation = Simulation(tmp_path)
    status, output = simulation.run("site", "-e", "mcp_tunnel_forget=host3")
    assert status != 0
    assert "1 problem in the variables of host1; no host was touched" in output
    assert "mcp_tunnel_forget: must be a list, is 'host3'. Write it like [a, b]" in output
    assert simulation.calls() == []
