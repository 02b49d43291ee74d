"""awx.awx's own documentation judges every object: its options, their types and choices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from tests.awx.conftest import OPERATOR
from tests.awx.rendered import objects

MODULE = {
    "controller_organizations": "organization",
    "controller_labels": "label",
    "controller_instance_groups": "instance_group",
    "controller_credential_types": "credential_type",
    "controller_credentials": "credential",
    "controller_credential_input_sources": "credential_input_source",
    "controller_execution_environments": "execution_environment",
    "controller_notifications": "notification_template",
    "controller_projects": "project",
    "controller_inventories": "inventory",
    "controller_templates": "job_template",
    "controller_workflows": "workflow_job_template",
    "controller_schedules": "schedule",
}
NODE = "workflow_job_template_node"
KEPT = ("type", "elements", "choices", "required", "aliases")
SOURCE = {"source_credential": "A store", "metadata": {"a": "b"}}


@pytest.fixture(scope="module")
def specs(collection: Path) -> dict[str, dict[str, Any]]:
    """The documented options of each module, as an argument spec."""
    names = [f"awx.awx.{name}" for name in (*MODULE.values(), NODE)]
    done = subprocess.run(
        [sys.executable, "-m", "ansible.cli.doc", "--type", "module", "--json", *names],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collection)},
        capture_output=True,
        text=True,
        check=True,
    )
    pages = json.loads(done.stdout)
    return {
        name: {
            option: {key: told[key] for key in KEPT if key in told}
            for option, told in pages[f"awx.awx.{name}"]["doc"]["options"].items()
        }
        for name in (*MODULE.values(), NODE)
    }


def errors(specs: dict[str, dict[str, Any]], made: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The objections of the documented options to objects."""
    asked = [(MODULE[kind], deepcopy(item)) for kind, items in made.items() for item in items]
    for _module, item in list(asked):
        for node in item.pop("simplified_workflow_nodes", []):
            asked.append((NODE, {"workflow_job_template": item["name"], **node}))
    return [
        f"{module}: {item.get('name', item.get('identifier'))}: {text}"
        for module, item in asked
        for text in ArgumentSpecValidator(specs[module]).validate(item).error_messages
    ]


@pytest.mark.parametrize("source", [{}, SOURCE])
def test_every_object_has_documented_options(
    specs: dict[str, dict[str, Any]], source: dict[str, Any]
) -> None:
    made = objects(**OPERATOR, mcp_tunnel_awx_token_source=source)
    assert made.keys() == MODULE.keys()
    assert all(made[kind] for kind in MODULE if "sources" not in kind or source)
    assert errors(specs, made) == []


def test_every_prompt_is_decided(specs: dict[str, dict[str, Any]]) -> None:
    """A later version of awx.awx may know another one: then it is to be on or off, too."""
    made = objects(**OPERATOR)
    for kind in ("controller_templates", "controller_workflows"):
        known = {option for option in specs[MODULE[kind]] if option.startswith("ask_")}
        for item in made[kind]:
            assert known - item.keys() == set(), item["name"]


@pytest.mark.parametrize(
    ("kind", "wrong", "found"),
    [
        ("templates", {"job_typ": "check"}, "job_template: MCP tunnel - check: job_typ"),
        ("templates", {"job_type": "dry"}, "value of job_type must be one of: run, check"),
        ("templates", {"timeout": "an hour"}, "unable to convert to int"),
        ("workflows", {"simplified_workflow_nodes": [{"identifier": "a", "on": 1}]}, NODE),
        ("schedules", {"rule": ""}, "schedule: MCP tunnel - renew certificates, weekly: rule"),
        ("organizations", {"name": None}, "missing required arguments"),
    ],
)
def test_a_planted_error_is_found(
    specs: dict[str, dict[str, Any]], kind: str, wrong: dict[str, Any], found: str
) -> None:
    made = objects(**OPERATOR)
    kept = {key: value for key, value in wrong.items() if value is not None}
    made[f"controller_{kind}"][0] = {
        key: value
        for key, value in {**made[f"controller_{kind}"][0], **kept}.items()
        if key not in wrong or key in kept
    }
    told = errors(specs, made)
    assert any(found in text for text in told), told
