# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists of objects that AWX has, and which option of an object names another object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: The name of a list in the form of infra.aap_configuration, to the module of awx.awx that makes
#: its objects, in the order in which they are made: an object comes after those that it names.
MODULES = {
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
    "controller_inventory_sources": "inventory_source",
    "controller_hosts": "host",
    "controller_groups": "group",
    "controller_templates": "job_template",
    "controller_workflows": "workflow_job_template",
    "controller_schedules": "schedule",
}
#: The module for one node of a workflow, and the option of a workflow that lists them.
NODE = "workflow_job_template_node"
NODES = "simplified_workflow_nodes"

_UNIFIED = (
    "controller_templates",
    "controller_workflows",
    "controller_projects",
    "controller_inventory_sources",
)
#: Options that name other objects, and the lists in which these may be.
_REFERENCES = {
    "organization": ("controller_organizations",),
    "lookup_organization": ("controller_organizations",),
    "labels": ("controller_labels",),
    "instance_groups": ("controller_instance_groups",),
    "credential_type": ("controller_credential_types",),
    "credential": ("controller_credentials",),
    "credentials": ("controller_credentials",),
    "target_credential": ("controller_credentials",),
    "source_credential": ("controller_credentials",),
    "galaxy_credentials": ("controller_credentials",),
    "execution_environment": ("controller_execution_environments",),
    "default_environment": ("controller_execution_environments",),
    "notification_templates_started": ("controller_notifications",),
    "notification_templates_success": ("controller_notifications",),
    "notification_templates_error": ("controller_notifications",),
    "notification_templates_approvals": ("controller_notifications",),
    "project": ("controller_projects",),
    "source_project": ("controller_projects",),
    "inventory": ("controller_inventories",),
    "input_inventories": ("controller_inventories",),
    "hosts": ("controller_hosts",),
    "children": ("controller_groups",),
    "unified_job_template": _UNIFIED,
    "workflow_job_template": ("controller_workflows",),
}


def name_of(item: Mapping[str, Any]) -> str:
    """The name of an object in messages. An input source has none of its own."""
    if "name" in item:
        return str(item["name"])
    if "target_credential" in item:
        return f"{item['target_credential']}: {item.get('input_field_name', '')}"
    return ""


def references(item: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """List and name of each object that this one may name."""
    for option, kinds in _REFERENCES.items():
        value = item.get(option)
        for name in value if isinstance(value, (list, tuple)) else [value]:
            if name is not None:
                yield from ((kind, str(name)) for kind in kinds)
