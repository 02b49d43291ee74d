"""The rules of AWX for its objects, as its API applies them (24.6), and those of our own.

Each rule takes all objects and yields a text for each violation. None of this is shared with the
collection: it judges the data that the collection ships.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

Objects = Mapping[str, list[dict[str, Any]]]
Rule = Callable[[Objects], Iterator[str]]
PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"

#: Type of a survey's question, to the type of its answer.
_ANSWERS: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "textarea": str,
    "password": str,
    "multiplechoice": str,
    "multiselect": (str, list),
    "integer": int,
    "float": (float, int),
}
#: Environment variables that a credential must not set, besides ANSIBLE_*.
_ENVIRONMENT = {
    *("VIRTUAL_ENV", "PATH", "PYTHONPATH", "JOB_ID", "INVENTORY_ID", "INVENTORY_SOURCE_ID"),
    *("INVENTORY_UPDATE_ID", "AD_HOC_COMMAND_ID", "REST_API_URL", "REST_API_TOKEN"),
    *("MAX_EVENT_RES", "CALLBACK_QUEUE", "CALLBACK_CONNECTION", "CACHE", "JOB_CALLBACK_DEBUG"),
    *("INVENTORY_HOSTVARS", "AWX_HOST", "PROJECT_REVISION", "SUPERVISOR_CONFIG_PATH"),
}
#: The questions that a launch may ask, and the templates that ask them.
_ASKED = {
    "site.yml": {"ask_limit_on_launch", "ask_job_type_on_launch", "ask_diff_mode_on_launch"},
    "verify.yml": {"ask_limit_on_launch"},
    "renew_cert.yml": {"ask_limit_on_launch"},
    "support.yml": {"ask_limit_on_launch"},
    "backup.yml": {"ask_limit_on_launch"},
    "restore.yml": {"ask_limit_on_launch"},
    "undrain.yml": {"ask_limit_on_launch"},
    "reboot.yml": {"ask_limit_on_launch"},
}
#: What docs/ tells operators to schedule, beside what each replica does by a timer of its own.
_SCHEDULED = {"backup.yml", "drift.yml", "renew_cert.yml", "verify.yml"}
# Seconds that a job may take, at most: one host after the other is rebooted.
_TIME_LIMITS = {"reboot.yml": 4 * 3600}


def _surveyed(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in ("controller_templates", "controller_workflows"):
        for item in objects[kind]:
            if "survey_spec" in item:
                yield item["name"], item["survey_spec"]


def _questions(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, survey in _surveyed(objects):
        for question in survey.get("spec", []):
            yield f"{name}, {question.get('variable')}", question


def survey_has_its_fields(objects: Objects) -> Iterator[str]:
    for name, survey in _surveyed(objects):
        for field, kind in (("name", str), ("description", str), ("spec", list)):
            if not isinstance(survey.get(field), kind):
                yield f"{name}: {field}"
        if not survey.get("spec"):
            yield f"{name}: no questions"
        names = [question.get("variable") for question in survey.get("spec", [])]
        if len(names) != len(set(names)):
            yield f"{name}: a variable twice"


def survey_is_on_exactly_where_there_is_one(objects: Objects) -> Iterator[str]:
    for kind in ("controller_templates", "controller_workflows"):
        for item in objects[kind]:
            if item["survey_enabled"] is not ("survey_spec" in item):
                yield item["name"]


def question_has_its_fields(objects: Objects) -> Iterator[str]:
    for name, question in _questions(objects):
        for field in ("question_name", "question_description", "variable", "type"):
            if not question.get(field) or not isinstance(question[field], str):
                yield f"{name}: {field}"
        if not isinstance(question.get("required"), bool):
            yield f"{name}: required"
        for field in ("min", "max"):
            if not isinstance(question.get(field, 0), int):
                yield f"{name}: {field}"
        if question.get("type") not in _ANSWERS:
            yield f"{name}: type"


def question_has_a_default_of_its_type(objects: Objects) -> Iterator[str]:
    for name, question in _questions(objects):
        default, kind = question.get("default", ""), question.get("type", "")
        if default != "" and not isinstance(default, _ANSWERS.get(kind, str)):
            yield f"{name}: default"
        # AWX drops a default that its own limits refuse, without a word.
        elif default != "" and kind in ("text", "textarea") and not _fits(question, default):
            yield f"{name}: length of the default"
        if kind in ("multiplechoice", "multiselect") and default not in question.get("choices", []):
            yield f"{name}: default is no choice"


def _fits(question: Mapping[str, Any], answer: str) -> bool:
    least, most = question.get("min", 0), question.get("max", 10**6)
    return isinstance(least, int) and isinstance(most, int) and least <= len(answer) <= most


def question_asks_for_no_secret(objects: Objects) -> Iterator[str]:
    for name, question in _questions(objects):
        if question.get("type") == "password":
            yield name


def question_sets_a_variable_of_the_collection(objects: Objects) -> Iterator[str]:
    for name, question in _questions(objects):
        if question.get("variable") not in role_options.defaults():
            yield name


def credential_type_has_good_fields(objects: Objects) -> Iterator[str]:
    allowed = {"id", "label", "type", "format", "choices", "help_text", "multiline", "secret"}
    for kind in objects["controller_credential_types"]:
        if kind.get("kind") not in ("cloud", "net"):
            yield f"{kind['name']}: kind"
        fields = kind["inputs"]["fields"]
        ids = [field.get("id", "") for field in fields]
        if len(ids) != len(set(ids)) or not set(kind["inputs"].get("required", [])) <= set(ids):
            yield f"{kind['name']}: ids"
        for field in fields:
            is_name = re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", field.get("id", ""))
            if not is_name or field["id"] == "tower" or not field.get("label"):
                yield f"{kind['name']}: {field}"
            if set(field) - allowed or field.get("type") not in ("string", "boolean"):
                yield f"{kind['name']}: {field}"


def injectors_use_fields_that_are_defined(objects: Objects) -> Iterator[str]:
    for kind in objects["controller_credential_types"]:
        injectors = kind["injectors"]
        if set(injectors) - {"file", "env", "extra_vars"}:
            yield f"{kind['name']}: {sorted(injectors)}"
        files = list(injectors.get("file", {}))
        named = all(re.fullmatch(r"template\.[a-zA-Z_][a-zA-Z0-9_]*", name) for name in files)
        if files != ["template"] and not named:
            yield f"{kind['name']}: names of files"
        for part, entries in injectors.items():
            for key, template in entries.items():
                if _rendered(template, _known(kind, "x")) is None:
                    yield f"{kind['name']}: {part} {key}"


def injectors_set_no_environment_of_ansible(objects: Objects) -> Iterator[str]:
    for kind in objects["controller_credential_types"]:
        for name in kind["injectors"].get("env", {}):
            if name.startswith("ANSIBLE_") or name in _ENVIRONMENT:
                yield f"{kind['name']}: {name}"


def injectors_put_secrets_into_files(objects: Objects) -> Iterator[str]:
    for kind in objects["controller_credential_types"]:
        fields = kind["inputs"]["fields"]
        secret = {field["id"]: "s3cret" for field in fields if field.get("secret")}
        known = {**_known(kind, "x"), **secret}
        for part in ("env", "extra_vars"):
            for key, template in kind["injectors"].get(part, {}).items():
                if "s3cret" in (_rendered(template, known) or ""):
                    yield f"{kind['name']}: {part} {key}"


def injectors_are_conditional_and_set_our_variables(objects: Objects) -> Iterator[str]:
    for kind in objects["controller_credential_types"]:
        for key, template in kind["injectors"].get("extra_vars", {}).items():
            if key not in role_options.defaults():
                yield f"{kind['name']}: {key}"
            if _rendered(template, _known(kind, "")) != "":
                yield f"{kind['name']}: {key} without a value"


def _known(kind: Mapping[str, Any], value: str) -> dict[str, Any]:
    """The names that a template of an injector can use: each field, with a value, and the files."""
    names = {name.partition(".")[2]: "f" for name in kind["injectors"].get("file", {})}
    fields = {field["id"]: value for field in kind["inputs"]["fields"]}
    return {**fields, "tower": {"filename": "f" if "" in names else names}}


def _rendered(template: str, known: Mapping[str, Any]) -> str | None:
    try:
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        return environment.from_string(template).render(**known)
    except TemplateError:
        return None


def one_custom_credential_for_each_template(objects: Objects) -> Iterator[str]:
    custom = {kind["name"] for kind in objects["controller_credential_types"]}
    of_ours = {
        item["name"]
        for item in objects["controller_credentials"]
        if item["credential_type"] in custom
    }
    for template in objects["controller_templates"]:
        if len(of_ours & set(template["credentials"])) > 1:
            yield template["name"]


def playbook_exists_and_has_hosts(objects: Objects) -> Iterator[str]:
    for template in objects["controller_templates"]:
        hosts = list(_hosts(PLAYBOOKS / template["playbook"]))
        if not any("mcp_tunnel" in pattern for pattern in hosts):
            yield template["name"]


def _hosts(path: Path) -> Iterator[str]:
    """The hosts of all plays of a playbook, and of those that it imports."""
    if not path.is_file():
        return
    for play in yaml.safe_load(path.read_text(encoding="utf-8")):
        if "hosts" in play:
            yield play["hosts"]
        elif "ansible.builtin.import_playbook" in play:
            yield from _hosts(path.parent / play["ansible.builtin.import_playbook"])


def template_sees_one_whole_inventory(objects: Objects) -> Iterator[str]:
    for template in objects["controller_templates"]:
        wanted = {
            "job_slice_count": 1,
            "use_fact_cache": False,
            "allow_simultaneous": False,
            "prevent_instance_group_fallback": True,
            "become_enabled": False,
            "timeout": _TIME_LIMITS.get(template["playbook"], 3600),
        }
        for option, value in wanted.items():
            if template.get(option) != value:
                yield f"{template['name']}: {option}"
        asked = {key for key in template if key.startswith("ask_") and template[key]}
        if not asked <= _ASKED.get(template["playbook"], set()):
            yield f"{template['name']}: {sorted(asked)}"
        if {"job_tags", "skip_tags", "limit", "start_at_task"} & set(template):
            yield f"{template['name']}: parts of the playbook"


def one_job_at_a_time(objects: Objects) -> Iterator[str]:
    groups = {item["name"]: item for item in objects["controller_instance_groups"]}
    for template in objects["controller_templates"]:
        for name in template["instance_groups"]:
            if groups.get(name, {}).get("max_concurrent_jobs") != 1:
                yield f"{template['name']}: {name}"


def container_group_has_no_instances(objects: Objects) -> Iterator[str]:
    for group in objects["controller_instance_groups"]:
        if group["is_container_group"] and group.get("policy_instance_percentage"):
            yield group["name"]


def inventory_checks_host_keys(objects: Objects) -> Iterator[str]:
    for inventory in objects["controller_inventories"]:
        variables = inventory["variables"]
        if variables.get("ansible_host_key_checking") is not True or (
            "UserKnownHostsFile=/" not in variables.get("ansible_ssh_common_args", "")
        ):
            yield inventory["name"]


def nodes_answer_what_is_required(objects: Objects) -> Iterator[str]:
    surveys = dict(_surveyed(objects))
    for workflow in objects["controller_workflows"]:
        for node in workflow["simplified_workflow_nodes"]:
            spec = surveys.get(node.get("unified_job_template"), {}).get("spec", [])
            extra = node.get("extra_data", {})
            by_name = {question["variable"]: question for question in spec}
            for variable, question in by_name.items():
                answer = extra.get(variable, question.get("default", ""))
                if question["required"] and not answer:
                    yield f"{workflow['name']}, {node['identifier']}: {variable}"
                if "choices" in question and answer not in question["choices"]:
                    yield f"{workflow['name']}, {node['identifier']}: {variable}"
            if set(extra) - set(by_name):
                yield f"{workflow['name']}, {node['identifier']}: {sorted(extra)}"


def nodes_have_an_approval_before_a_change(objects: Objects) -> Iterator[str]:
    playbooks = {item["name"]: item["playbook"] for item in objects["controller_templates"]}
    for workflow in objects["controller_workflows"]:
        nodes = workflow["simplified_workflow_nodes"]
        if not any("approval_node" in node for node in nodes):
            yield workflow["name"]
        unapproved = _unapproved(nodes)
        for node in nodes:
            harm = playbooks.get(node.get("unified_job_template")) in _HARMFUL
            if harm and node["identifier"] in unapproved:
                yield f"{workflow['name']}: {node['identifier']}"
        for node in nodes:
            if "approval_node" in node and not all(map(node["approval_node"].get, _APPROVAL)):
                yield f"{workflow['name']}: {node['identifier']}"


_APPROVAL = ("name", "description", "timeout")
_HARMFUL = ("breach.yml", "rotate_ca.yml", "rotate_token.yml", "recover.yml", "teardown.yml")
_UNLESS_APPROVED = ("failure_nodes", "always_nodes")


def _unapproved(nodes: list[dict[str, Any]]) -> set[str]:
    """The nodes that can run although nobody has approved: any of its parents starts a node."""
    every = {
        node["identifier"]: _linked(node, "success_nodes", *_UNLESS_APPROVED) for node in nodes
    }
    after = {
        node["identifier"]: _linked(node, *_UNLESS_APPROVED)
        for node in nodes
        if "approval_node" in node
    }
    found: set[str] = set()
    waiting = every.keys() - {name for links in every.values() for name in links}
    while waiting:
        found |= waiting
        followers = {link for name in waiting for link in {**every, **after}.get(name, [])}
        waiting = followers - found
    return found


def _linked(node: Mapping[str, Any], *kinds: str) -> list[str]:
    return [name for kind in kinds for name in node.get(kind, [])]


def schedule_has_a_rule_that_awx_takes(objects: Objects) -> Iterator[str]:
    for schedule in objects["controller_schedules"]:
        match = re.fullmatch(r"DTSTART:(\d{8}T\d{6})Z RRULE:([A-Z]+=\S+)", schedule["rrule"])
        parts = dict(part.split("=", 1) for part in match[2].split(";")) if match else {}
        if (
            not match
            or "INTERVAL" not in parts
            or parts.get("FREQ") not in ("MINUTELY", "HOURLY", "DAILY", "WEEKLY", "MONTHLY")
            or re.match(r"\d", parts.get("BYDAY", ""))
            or {"COUNT", "UNTIL"} <= parts.keys()
        ):
            yield schedule["name"]
        else:
            datetime.strptime(match[1], "%Y%m%dT%H%M%S")


def schedule_needs_no_answer(objects: Objects) -> Iterator[str]:
    surveys = dict(_surveyed(objects))
    for schedule in objects["controller_schedules"]:
        spec = surveys.get(schedule["unified_job_template"], {}).get("spec", [])
        if any(question["required"] and not question.get("default") for question in spec):
            yield schedule["name"]


def what_has_to_be_scheduled_is(objects: Objects) -> Iterator[str]:
    playbooks = {item["name"]: item["playbook"] for item in objects["controller_templates"]}
    names = [schedule["unified_job_template"] for schedule in objects["controller_schedules"]]
    yield from sorted(_SCHEDULED ^ {playbooks[name] for name in names})


def notification_is_whole_and_its_body_is_a_map(objects: Objects) -> Iterator[str]:
    fields = {"url", "http_method", "disable_ssl_verification", "username", "password", "headers"}
    job = {"id": 1, "name": "n", "status": "failed", "artifacts": {}}
    for item in objects["controller_notifications"]:
        if item["notification_configuration"].keys() != fields:
            yield f"{item['name']}: fields"
        if item["messages"].keys() != {"started", "success", "error", "workflow_approval"}:
            yield f"{item['name']}: events"
        for artifacts in ({}, {"mcp_tunnel_report": {"healthy": ["a"]}}):
            template = item["messages"]["error"]["body"]
            body = _rendered(template, {"job": {**job, "artifacts": artifacts}, "url": "https://x"})
            try:
                is_map = isinstance(json.loads(body or ""), dict)
            except ValueError:
                is_map = False
            if not is_map:
                yield f"{item['name']}: body"


#: Options that name objects, and their lists. What AWX has by itself has no list.
_NAMED = {
    "organization": "controller_organizations",
    "project": "controller_projects",
    "inventory": "controller_inventories",
    "execution_environment": "controller_execution_environments",
    "labels": "controller_labels",
    "instance_groups": "controller_instance_groups",
    "notification_templates_error": "controller_notifications",
    "notification_templates_approvals": "controller_notifications",
    "credentials": "controller_credentials",
    "target_credential": "controller_credentials",
    "unified_job_template": "controller_templates",
}


def objects_name_objects_that_are_there(objects: Objects) -> Iterator[str]:
    there = {kind: {str(item.get("name")) for item in items} for kind, items in objects.items()}
    for kind, items in objects.items():
        for item in items:
            nodes = item.get("simplified_workflow_nodes", [])
            for part in [item, *nodes]:
                for option, where in _NAMED.items():
                    value = part.get(option, [])
                    for name in value if isinstance(value, list) else [value]:
                        if name not in there[where]:
                            yield f"{kind}: {item.get('name')}: {option} {name}"


def names_are_used_once(objects: Objects) -> Iterator[str]:
    for kind, items in objects.items():
        names = [item["name"] for item in items if "name" in item]
        yield from (f"{kind}: {name}" for name in names if names.count(name) > 1)


RULES: tuple[Rule, ...] = tuple(
    value
    for name, value in sorted(globals().items())
    if callable(value) and getattr(value, "__module__", "") == __name__ and not name.startswith("_")
)
