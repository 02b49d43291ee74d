"""playbooks/awx_project.yml: a check writes nothing, and files of somebody else stay."""

from __future__ import annotations

from pathlib import Path

from tests.awx.conftest import Run


def test_a_check_then_a_run_beside_a_file_of_somebody_else(run: Run, tmp_path: Path) -> None:
    dest = tmp_path / "project"
    dest.mkdir()
    site = dest / "site.yml"
    site.write_text("- hosts: all\n")

    def written(*arguments: str, **variables: str) -> tuple[int, dict[str, object], str]:
        given = {"mcp_tunnel_awx_project_dest": str(dest), **variables}
        return run(None, *arguments, playbook="awx_project", **given)

    status, result, _output = written()
    assert status != 0
    assert result["problems"] == [
        f"{site}: is there already, and was not written by awx_project. Move it away, or set "
        "mcp_tunnel_awx_project_replace: true to replace it."
    ]
    assert list(dest.iterdir()) == [site]

    replace = {"mcp_tunnel_awx_project_replace": "true"}
    status, _result, output = written("--check", "--diff", **replace)
    assert status == 0, output
    assert "-- hosts: all" in output
    assert list(dest.iterdir()) == [site]

    status, result, output = written(**replace)
    assert status == 0, output
    assert "mcp_tunnels.stack.site" in site.read_text()
    assert "sync it in AWX" in str(result["msg"])
