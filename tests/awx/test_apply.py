"""playbooks/awx.yml with the real modules of awx.awx, against a stand-in for AWX."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.awx.conftest import SECRET, Run
from tests.awx.fake_awx import TOKEN, FakeAwx

NAME = "MCP tunnel"
ANSIBLE = "ansible.cli.playbook"


REPLICAS = """
controller_hosts:
  - {name: replica1, inventory: "{{ mcp_tunnel_awx_inventory }}"}
controller_groups:
  - {name: mcp_tunnel, inventory: "{{ mcp_tunnel_awx_inventory }}", hosts: [replica1]}
"""


def test_a_check_then_a_run_then_another(awx: FakeAwx, run: Run, tmp_path: Path) -> None:
    """The first run makes everything, as its check has told; the second one changes nothing."""
    own = tmp_path / "own.yml"
    own.write_text(REPLICAS)
    given = {"mcp_tunnel_awx_files": [str(own)]}
    status, checked, output = run(awx, "--check", "-vvv", program=ANSIBLE, **given)
    assert status == 0, output
    assert awx.api.written() == []
    assert SECRET not in output
    assert TOKEN not in output

    status, made, output = run(awx, **given)
    assert status == 0, output
    assert made["objects"] == checked["objects"]
    assert all(one["changed"] for one in made["objects"])
    assert len(made["objects"]) > 20
    assert SECRET not in output
    assert_everything_is_there(awx)

    before = len(awx.api.written())
    status, again, output = run(awx, **given)
    assert status == 0, output
    assert again["msg"] == [f"0 of {len(made['objects'])} objects changed."]
    assert awx.api.written()[before:] == []


def assert_everything_is_there(awx: FakeAwx) -> None:
    api = awx.api
    duties = {item["playbook"] for item in api.objects["job_templates"].values()}
    playbooks = Path(__file__).resolve().parents[2] / "playbooks"
    assert duties == {
        path.name for path in playbooks.glob("*.yml") if "plays/replicas.yml" in path.read_text()
    }
    template = api.one("job_templates", f"{NAME} - tear down")
    linked = {
        name: ids
        for (kind, number, name), ids in api.linked.items()
        if (kind, number) == ("job_templates", template["id"])
    }
    assert linked["instance_groups"] == [api.one("instance_groups", "mcp-tunnel")["id"]]
    assert len(linked["credentials"]) == 2
    assert template["survey"]["spec"][0]["variable"] == "mcp_tunnel_teardown_confirmed"
    assert api.one("credentials", f"{NAME} - token")["inputs"] == {"token": SECRET}
    approvals = api.names("workflow_approval_templates")
    assert len(approvals) == len(api.objects["workflow_job_templates"])
    group = api.one("groups", "mcp_tunnel")
    assert api.linked[("groups", group["id"], "hosts")] == [api.one("hosts", "replica1")["id"]]
    assert_each_workflow_is_one_chain(awx)


def assert_each_workflow_is_one_chain(awx: FakeAwx) -> None:
    nodes = awx.api.objects["workflow_job_template_nodes"]
    followed = [
        number
        for (kind, _node, name), ids in awx.api.linked.items()
        if kind == "workflow_job_template_nodes" and name == "success_nodes"
        for number in ids
    ]
    assert len(followed) == len(set(followed))
    assert len(nodes) - len(followed) == len(awx.api.objects["workflow_job_templates"])


def test_names_and_templates_of_the_operator(awx: FakeAwx, run: Run, tmp_path: Path) -> None:
    """With programmatic access, no credential of ours is made."""
    own = tmp_path / "own.yml"
    own.write_text(
        """
controller_templates:
  - name: "{{ mcp_tunnel_awx_name }} - verify"
    verbosity: 1
  - name: A template of our own
    organization: "{{ mcp_tunnel_awx_organization }}"
    project: "{{ mcp_tunnel_awx_name }}"
    inventory: "{{ mcp_tunnel_awx_inventory }}"
    playbook: verify.yml
controller_workflows: []
"""
    )
    status, made, _output = run(
        awx,
        mcp_tunnel_awx_files=[str(own)],
        mcp_tunnel_awx_name="Tunnel B",
        mcp_tunnel_awx_organization="Network",
        mcp_tunnel_awx_mode="wif",
        mcp_tunnel_awx_token="",
        mcp_tunnel_awx_machine={},
    )
    # The machine credential has to exist then, and does not.
    assert status != 0
    assert made["msg"] == "AWX refused controller_templates: Tunnel B - check. See problems."
    assert "Make the object that it names in AWX" in made["problems"][0]
    assert "Tunnel B - token" not in awx.api.names("credentials")
    assert awx.api.names("organizations") == ["Network"]
    assert json.dumps(awx.api.objects).count("Tunnel B") >= 2


def test_a_token_that_awx_looks_up(awx: FakeAwx, run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    own.write_text("controller_templates:\n  - {name: 'MCP tunnel - verify', state: absent}\n")
    status, _made, output = run(
        awx,
        mcp_tunnel_awx_token="",
        mcp_tunnel_awx_token_source={
            "source_credential": "A secret store",
            "metadata": {"secret_path": "kv/mcp"},
        },
        mcp_tunnel_awx_files=[str(own)],
    )
    (source,) = awx.api.objects["credential_input_sources"].values()
    assert source["input_field_name"] == "token"
    assert source["metadata"] == {"secret_path": "kv/mcp"}
    # Workflows and a schedule still name the template that is to be gone.
    assert status != 0
    assert f"{NAME} - verify" not in awx.api.names("job_templates"), output


@pytest.mark.parametrize(
    ("method", "kind", "status", "title", "remedy"),
    [
        (
            "POST",
            "instance_groups",
            403,
            "controller_instance_groups: mcp-tunnel",
            "as a user with",
        ),
        (
            "GET",
            "organizations",
            401,
            "controller_organizations: MCP tunnels",
            "controller_oauthtoken",
        ),
        ("POST", "labels", 400, "controller_labels: mcp-tunnel", "Put its entry right"),
    ],
)
def test_an_awx_that_refuses(
    awx: FakeAwx, run: Run, method: str, kind: str, status: int, title: str, remedy: str
) -> None:
    awx.api.refusals[(method, kind)] = (status, "No.")
    failed, result, _output = run(awx)
    assert failed
    assert result["msg"] == f"AWX refused {title}. See problems."
    (problem,) = result["problems"]
    assert problem.startswith(f"{title}: AWX refused it: ")
    assert remedy in problem


BAD = """
controller_templates:
  - {name: MCP tunnel - deploy, job_typ: check}
  - {name: MCP tunnel - check, job_type: dry}
  - {playbook: site.yml}
controller_templatez: []
controller_workflows:
  - name: Round
    simplified_workflow_nodes:
      - {identifier: a, unified_job_template: x, success_nodes: [b]}
      - {identifier: b, unified_job_template: x, success_nodes: [a]}
"""


def test_all_that_is_wrong_is_told_before_the_first_request(
    awx: FakeAwx, run: Run, tmp_path: Path
) -> None:
    own = tmp_path / "own.yml"
    own.write_text(BAD)
    status, result, _output = run(
        awx, mcp_tunnel_awx_files=[str(own)], mcp_tunnel_awx_token="", mcp_tunnel_awx_imag="x"
    )
    assert status != 0
    assert result["msg"] == "The objects of AWX have problems; nothing was changed. See problems."
    told = "\n".join(result["problems"])
    for text in (
        "controller_templates: MCP tunnel - deploy: awx.awx.job_template has no option job_typ. "
        "Perhaps job_type is meant.",
        "controller_templates: MCP tunnel - check: job_type is not one of run, check.",
        "controller_templates[2]: of mcp_tunnel_awx_files[0] is no map with a name.",
        "controller_templatez: of mcp_tunnel_awx_files[0] is no list of objects. "
        "Perhaps controller_templates is meant.",
        "controller_workflows: Round: names nodes that lead back to themselves: a, b.",
        "controller_credentials: MCP tunnel - token: has no token, so jobs would get none. Set "
        "mcp_tunnel_awx_token",
        "mcp_tunnel_awx_imag: is no variable of the role awx. "
        "Perhaps mcp_tunnel_awx_image is meant.",
    ):
        assert text in told
    assert len(result["problems"]) == 7
    assert awx.api.requests == []


def test_a_controller_without_the_collection(run: Run) -> None:
    status, result, _output = run(None, beside=None)
    assert status != 0
    (problem,) = result["problems"]
    assert problem.startswith("awx.awx: is not installed on this controller")
    assert "ansible-galaxy collection install awx.awx" in problem


def test_own_files_are_not_shown(awx: FakeAwx, run: Run, tmp_path: Path) -> None:
    """They may have secrets, and somebody looks for a fault with -v."""
    own = tmp_path / "own.yml"
    own.write_text("controller_labels:\n  - {name: planted-secret, no_such_option: x}\n")
    status, _result, output = run(awx, "--check", "-vv", mcp_tunnel_awx_files=[str(own)])
    assert status != 0
    assert output.count("planted-secret") == output.count("controller_labels: planted-secret") > 0


def test_own_files_that_are_no_list(awx: FakeAwx, run: Run, tmp_path: Path) -> None:
    status, result, _output = run(awx, mcp_tunnel_awx_files=str(tmp_path / "own.yml"))
    assert status != 0
    assert str(result["msg"]).startswith("mcp_tunnel_awx_files: ")
    assert "must be a list of paths" in str(result["msg"])
    assert awx.api.requests == []


@pytest.mark.parametrize("content", ["a: b: c\n", None, "- 1\n"])
def test_an_own_file_that_cannot_be_read_is_named(
    awx: FakeAwx, run: Run, tmp_path: Path, content: str | None
) -> None:
    own = tmp_path / "own.yml"
    if content is not None:
        own.write_text(content)
    status, _result, output = run(awx, mcp_tunnel_awx_files=[str(own)])
    assert status != 0
    assert f"mcp_tunnel_awx_files: {own} cannot be read as a map of lists in YAML" in output
    assert awx.api.requests == []
