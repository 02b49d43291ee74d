"""The objects follow the rules of AWX; each rule finds a violation that is planted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader

from tests.awx import rules
from tests.awx.conftest import OPERATOR
from tests.awx.rendered import DATA, objects

MODES: dict[str, dict[str, Any]] = {
    "manual": {},
    "programmatic access": {"mcp_tunnel_awx_mode": "wif"},
    "a token that AWX looks up": {
        "mcp_tunnel_awx_token": "",
        "mcp_tunnel_awx_token_source": {"source_credential": "A store", "metadata": {"a": "b"}},
    },
    "pods": {"mcp_tunnel_awx_container_group": True},
    "other names": {"mcp_tunnel_awx_name": "B", "mcp_tunnel_awx_organization": "C"},
    "no notifications": {"mcp_tunnel_awx_webhook_url": ""},
}


@pytest.mark.parametrize("mode", MODES)
def test_no_object_breaks_a_rule(mode: str) -> None:
    made = objects(**{**OPERATOR, **MODES[mode]})
    assert made["controller_templates"]
    assert {rule.__name__: list(rule(made)) for rule in rules.RULES if list(rule(made))} == {}


@functools.cache
def made_once() -> Made:
    return objects(**OPERATOR)


Made = dict[str, list[dict[str, Any]]]


def question(made: Made, template: str = "rotate token", at: int = 0) -> dict[str, Any]:
    (found,) = [t for t in made["controller_templates"] if t["name"].endswith(template)]
    spec: list[dict[str, Any]] = found["survey_spec"]["spec"]
    return spec[at]


def first(made: Made, kind: str) -> dict[str, Any]:
    return made[f"controller_{kind}"][0]


def of_type(made: Made) -> dict[str, Any]:
    return first(made, "credential_types")


def change(target: dict[str, Any], *without: str, **values: Any) -> None:
    target.update(values)
    for key in without:
        del target[key]


PLANTED: list[tuple[str, Callable[[Made], Any]]] = [
    (
        "survey_has_its_fields",
        lambda m: m["controller_templates"][1]["survey_spec"].pop("description"),
    ),
    (
        "survey_has_its_fields",
        lambda m: m["controller_templates"][1]["survey_spec"].update(spec=[]),
    ),
    (
        "survey_has_its_fields",
        lambda m: change(question(m), variable="mcp_tunnel_token_rotate_reason"),
    ),
    (
        "survey_is_on_exactly_where_there_is_one",
        lambda m: change(first(m, "templates"), survey_enabled=True),
    ),
    ("question_has_its_fields", lambda m: change(question(m), "question_description")),
    ("question_has_its_fields", lambda m: change(question(m), required="yes")),
    ("question_has_its_fields", lambda m: change(question(m), min="1")),
    ("question_has_its_fields", lambda m: change(question(m), type="number")),
    ("question_has_a_default_of_its_type", lambda m: change(question(m, "deploy"), default=1)),
    (
        "question_has_a_default_of_its_type",
        lambda m: change(question(m, "deploy"), default="100000"),
    ),
    (
        "question_has_a_default_of_its_type",
        lambda m: change(question(m, "tear down"), default="maybe"),
    ),
    ("question_asks_for_no_secret", lambda m: change(question(m), type="password")),
    (
        "question_sets_a_variable_of_the_collection",
        lambda m: change(question(m), variable="mcp_version"),
    ),
    (
        "credential_type_has_good_fields",
        lambda m: change(of_type(m)["inputs"]["fields"][0], id="tower"),
    ),
    (
        "credential_type_has_good_fields",
        lambda m: change(of_type(m)["inputs"]["fields"][0], "label"),
    ),
    ("credential_type_has_good_fields", lambda m: change(of_type(m), kind="vault")),
    (
        "injectors_use_fields_that_are_defined",
        lambda m: of_type(m)["injectors"].update(env={"A": "{{ tokn }}"}),
    ),
    (
        "injectors_use_fields_that_are_defined",
        lambda m: of_type(m)["injectors"]["file"].update({"template.b": ""}),
    ),
    (
        "injectors_set_no_environment_of_ansible",
        lambda m: of_type(m)["injectors"].update(env={"ANSIBLE_X": ""}),
    ),
    (
        "injectors_set_no_environment_of_ansible",
        lambda m: of_type(m)["injectors"].update(env={"PATH": ""}),
    ),
    (
        "injectors_put_secrets_into_files",
        lambda m: of_type(m)["injectors"].update(env={"T": "{{ token }}"}),
    ),
    (
        "injectors_put_secrets_into_files",
        lambda m: (
            of_type(m)["inputs"]["fields"].append({"id": "a", "label": "A", "type": "string"}),
            of_type(m)["injectors"].update(env={"T": "{{ a }}:{{ token }}"}),
        ),
    ),
    (
        "injectors_put_secrets_into_files",
        lambda m: of_type(m)["injectors"].update(
            file={"template.a": "{{ token }}"}, env={"T": "{{ tower.filename.a }} {{ token }}"}
        ),
    ),
    (
        "injectors_are_conditional_and_set_our_variables",
        lambda m: of_type(m)["injectors"]["extra_vars"].update(
            mcp_tunnel_token_file="{{ tower.filename }}"
        ),
    ),
    (
        "injectors_are_conditional_and_set_our_variables",
        lambda m: of_type(m)["injectors"]["extra_vars"].update(mcp_tunnel_tokens=""),
    ),
    (
        "one_custom_credential_for_each_template",
        lambda m: (
            m["controller_credentials"].append({"name": "b", "credential_type": "MCP tunnel"}),
            first(m, "templates")["credentials"].append("b"),
        ),
    ),
    (
        "playbook_exists_and_has_hosts",
        lambda m: change(first(m, "templates"), playbook="deploy.yml"),
    ),
    (
        "playbook_exists_and_has_hosts",
        lambda m: change(first(m, "templates"), playbook="awx.yml"),
    ),
    (
        "template_sees_one_whole_inventory",
        lambda m: change(first(m, "templates"), job_slice_count=2),
    ),
    (
        "template_sees_one_whole_inventory",
        lambda m: change(first(m, "templates"), "use_fact_cache"),
    ),
    (
        "template_sees_one_whole_inventory",
        lambda m: change(first(m, "templates"), ask_tags_on_launch=True),
    ),
    ("template_sees_one_whole_inventory", lambda m: change(first(m, "templates"), job_tags="a")),
    ("template_sees_one_whole_inventory", lambda m: change(first(m, "templates"), timeout=0)),
    ("one_job_at_a_time", lambda m: change(first(m, "instance_groups"), max_concurrent_jobs=0)),
    (
        "container_group_has_no_instances",
        lambda m: change(first(m, "instance_groups"), is_container_group=True),
    ),
    ("inventory_checks_host_keys", lambda m: first(m, "inventories").update(variables={})),
    (
        "nodes_answer_what_is_required",
        lambda m: change(
            m["controller_workflows"][3]["simplified_workflow_nodes"][1],
            extra_data={"mcp_tunnel_archive": "maybe"},
        ),
    ),
    (
        "nodes_answer_what_is_required",
        lambda m: change(
            first(m, "workflows")["simplified_workflow_nodes"][2],
            unified_job_template="MCP tunnel - rotate token",
        ),
    ),
    (
        "nodes_answer_what_is_required",
        lambda m: change(
            first(m, "workflows")["simplified_workflow_nodes"][2], extra_data={"a": "b"}
        ),
    ),
    (
        "nodes_have_an_approval_before_a_change",
        lambda m: m["controller_workflows"][3]["simplified_workflow_nodes"].pop(0),
    ),
    (
        "nodes_have_an_approval_before_a_change",
        lambda m: m["controller_workflows"][2]["simplified_workflow_nodes"][0].update(
            success_nodes=["approve", "rotate"]
        ),
    ),
    (
        "nodes_have_an_approval_before_a_change",
        lambda m: m["controller_workflows"][2]["simplified_workflow_nodes"][1].update(
            failure_nodes=["rotate"]
        ),
    ),
    (
        "nodes_have_an_approval_before_a_change",
        lambda m: first(m, "workflows")["simplified_workflow_nodes"][1]["approval_node"].pop(
            "description"
        ),
    ),
    (
        "schedule_has_a_rule_that_awx_takes",
        lambda m: change(first(m, "schedules"), rrule="RRULE:FREQ=DAILY;INTERVAL=1"),
    ),
    (
        "schedule_has_a_rule_that_awx_takes",
        lambda m: change(first(m, "schedules"), rrule="DTSTART:20260106T030000Z RRULE:FREQ=DAILY"),
    ),
    (
        "schedule_needs_no_answer",
        lambda m: change(first(m, "schedules"), unified_job_template="MCP tunnel - rotate token"),
    ),
    (
        "what_has_to_be_scheduled_is",
        lambda m: m["controller_schedules"].pop(),
    ),
    (
        "notification_is_whole_and_its_body_is_a_map",
        lambda m: first(m, "notifications")["notification_configuration"].pop("password"),
    ),
    (
        "notification_is_whole_and_its_body_is_a_map",
        lambda m: first(m, "notifications")["messages"]["error"].update(body="{{ job.nothing }}"),
    ),
    (
        "objects_name_objects_that_are_there",
        lambda m: change(first(m, "templates"), project="another"),
    ),
    (
        "objects_name_objects_that_are_there",
        lambda m: first(m, "templates")["credentials"].append("another"),
    ),
    ("names_are_used_once", lambda m: m["controller_labels"].append(first(m, "labels"))),
]


@pytest.mark.parametrize(("rule", "plant"), PLANTED)
def test_a_planted_violation_is_found(rule: str, plant: Callable[[Made], Any]) -> None:
    made = deepcopy(made_once())
    plant(made)
    assert list(getattr(rules, rule)(made))


def test_each_rule_has_a_violation_that_is_planted() -> None:
    assert {rule.__name__ for rule in rules.RULES} == {name for name, _plant in PLANTED}


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
def test_every_loader_reads_the_same(path: Any) -> None:
    """PyYAML's two, with and without libyaml, and Ansible's own."""

    class Python(yaml.SafeLoader):
        pass

    class Compiled(yaml.CSafeLoader):
        pass

    for loader in (Python, Compiled):
        loader.add_constructor("!unsafe", lambda load, node: load.construct_scalar(node))
    text = path.read_text(encoding="utf-8")
    first_one, second = (yaml.load(text, loader) for loader in (Python, Compiled))
    assert first_one == second == DataLoader().load_from_file(str(path))
