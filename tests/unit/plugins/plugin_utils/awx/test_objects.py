"""The objects of AWX before any of them is made: merged, judged, ordered."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.awx import (
    failures,
    kinds,
    names,
    objects,
    workflows,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.awx.objects import Object

TYPE = {"name": "T", "inputs": {"fields": [{"id": "token", "secret": True}, {"id": "user"}]}}


def made(*own, **lists):
    """Return the merged objects of lists (without controller_), which are right in form."""
    found, problems = objects.merged({f"controller_{k}": v for k, v in lists.items()}, own)
    assert problems == []
    return found


def test_objects_come_after_those_that_they_name():
    order = [one.kind for one in made(schedules=[{"name": "s"}], organizations=[{"name": "o"}])]
    assert order == ["controller_organizations", "controller_schedules"]
    assert kinds.MODULES.keys() >= set(order)


def test_an_object_of_the_operator_changes_or_adds():
    ours = {"name": "a", "timeout": 3600, "playbook": "site.yml"}
    own = {"controller_templates": [{"name": "a", "timeout": 60}, {"name": "b"}]}
    found = made(own, templates=[ours])
    assert [one.item for one in found] == [{**ours, "timeout": 60}, {"name": "b"}]
    assert ours["timeout"] == 3600


@pytest.mark.parametrize(
    ("own", "text"),
    [
        ({"controller_template": []}, "Perhaps controller_templates is meant."),
        ({"awx_things": []}, "There are controller_organizations, "),
        ({"controller_labels": {"name": "x"}}, "controller_labels: of mcp_tunnel_awx_files[0] is"),
        (
            {"controller_labels": ["x"]},
            "controller_labels[0]: of mcp_tunnel_awx_files[0] is no",
        ),
        ({"controller_labels": [{}]}, "is no map with a name"),
        ([], "mcp_tunnel_awx_files[0]: is no map of lists"),
    ],
)
def test_files_of_another_form(own, text):
    _found, (problem,) = objects.merged({}, [own])
    assert text in str(problem)


@pytest.mark.parametrize(
    ("inputs", "sources", "is_right"),
    [
        ({"token": "x"}, [], True),
        ({}, [], False),
        ({"token": "", "user": "x"}, [], False),
        ({}, [{"target_credential": "c", "input_field_name": "token"}], True),
        ({}, [{"target_credential": "c", "input_field_name": "user"}], False),
        ({}, [{"target_credential": "d", "input_field_name": "token"}], False),
    ],
)
def test_a_credential_without_its_secret(inputs, sources, is_right):
    found = made(
        credential_types=[TYPE],
        credentials=[
            {"name": "c", "credential_type": "T", "inputs": inputs},
            {"name": "of a type that AWX has", "credential_type": "Machine"},
        ],
        credential_input_sources=sources,
    )
    problems = [str(problem) for problem in objects.without_secret(found)]
    assert len(problems) == (not is_right)
    assert all(text.startswith("controller_credentials: c: has no token") for text in problems)


def test_what_only_the_operator_knows():
    found = made(
        execution_environments=[{"name": "e", "image": ""}],
        projects=[{"name": "p"}, {"name": "m", "scm_type": "manual"}],
    )
    assert [str(problem) for problem in objects.without_value(found)] == [
        "controller_execution_environments: e: has no image. Set mcp_tunnel_awx_image.",
        "controller_projects: p: has no scm_url. Set mcp_tunnel_awx_project_url.",
    ]


def workflow(*nodes):
    item = {"name": "w", "organization": "o", "simplified_workflow_nodes": list(nodes)}
    return Object("controller_workflows", item)


def test_nodes_are_made_before_those_that_name_them():
    options, asked = workflows.split(
        workflow(
            {"identifier": "a", "unified_job_template": "A", "success_nodes": ["b"]},
            {"identifier": "b", "approval_node": {"name": "B"}, "failure_nodes": ["c"]},
            {"identifier": "c", "unified_job_template": "C"},
        )
    )
    assert options == {"name": "w", "organization": "o"}
    place = {"workflow_job_template": "w", "organization": "o"}
    assert asked == [
        {**place, "identifier": "c", "unified_job_template": "C", "lookup_organization": "o"},
        {**place, "identifier": "b", "approval_node": {"name": "B"}},
        {**place, "identifier": "b", "failure_nodes": ["c"]},
        {
            **place,
            "identifier": "a",
            "unified_job_template": "A",
            "success_nodes": ["b"],
            "lookup_organization": "o",
        },
    ]


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ([{"identifier": "a", "success_nodes": ["b"]}], "names nodes that are not there: b"),
        ([{"identifier": "a", "always_nodes": ["a"]}], "that lead back to themselves: a"),
        ([{"identifier": "a"}, {"identifier": "a"}], "[1] is no map with an identifier"),
        ([{}], "[0] is no map with an identifier"),
        (["a"], "[0] is no map with an identifier"),
    ],
)
def test_nodes_that_lead_nowhere(nodes, text):
    with pytest.raises(TunnelError) as caught:
        workflows.split(workflow(*nodes))
    assert str(caught.value).startswith("controller_workflows: w: ")
    assert text in str(caught.value)


def test_references_are_names_of_objects_and_nothing_else():
    item = {
        "name": "n",
        "description": "o",
        "organization": "o",
        "labels": ["l", "m"],
        "limit": "o",
    }
    assert set(kinds.references(item)) == {
        ("controller_organizations", "o"),
        ("controller_labels", "l"),
        ("controller_labels", "m"),
    }


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (
            {"msg": "Invalid authentication (HTTP 401)."},
            "controller_oauthtoken",
        ),
        (
            {"msg": "You don't have permission (HTTP 403)."},
            "as a user with the right",
        ),
        ({"msg": "Unable to resolve controller_host (x): y"}, "Check controller_host"),
        ({"msg": "{'playbook': ['Playbook not found for project.']}"}, "awx_project"),
        ({"msg": "Request to /api/ returned 0 items, expected 1"}, "Make the object that it names"),
        (
            {"msg": "The host sent back a server error (HTTP Error 503: x): /api/. Please check"},
            "See whether AWX is up",
        ),
        ({"msg": "Unable to create project x: {'a': ['b']}"}, "Put its entry right"),
        ({"msg": "failed", "module_stderr": "Traceback\nTypeError: 'NoneType' is"}, "TypeError"),
    ],
)
def test_a_refusal_has_object_reason_and_remedy(answer, remedy):
    text = str(failures.refused("controller_projects: p", answer, 3))
    assert text.startswith("controller_projects: p: AWX refused it: ")
    assert remedy in text
    assert "the 3 objects before it" in text


def test_a_misspelt_variable():
    given = ["mcp_tunnel_awx_imag", "mcp_tunnel_awx_name", "mcp_tunnel_domain", "awx_job_id"]
    (problem,) = names.check(given)
    assert str(problem) == (
        "mcp_tunnel_awx_imag: is no variable of the role awx. "
        "Perhaps mcp_tunnel_awx_image is meant."
    )
