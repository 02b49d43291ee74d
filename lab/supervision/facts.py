"""Facts of a ready lab, for programs: lab.json, and an inventory for Ansible."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from ..core.errors import LabError
from ..core.paths import LabPaths
from ..core.processes import alive, recorded
from ..hosts import ssh
from . import kept
from .spec import LabSpec


def write(
    paths: LabPaths,
    spec: LabSpec,
    facts: Mapping[str, Any],
    inventories: Mapping[str, Mapping[str, Any]],
) -> None:
    """Writes an inventory for each mode, then lab.json, whose presence says that the lab is ready.

    Args:
        inventories: mode -> variables of all hosts.
    """
    hosts = [
        {
            "name": host.name,
            "address": host.address.v4,
            "address6": host.address.v6,
            "link_local": host.address.link_local,
            "debian": host.debian,
            "machine": host.machine,
        }
        for host in spec.hosts
    ]
    for mode, variables in inventories.items():
        text = yaml.safe_dump(_inventory(paths, spec, variables), sort_keys=False)
        paths.inventory(mode).write_text(text)
    partial = paths.facts.with_suffix(".partial")
    partial.write_text(json.dumps({"name": spec.name, "hosts": hosts, **facts}, indent=2) + "\n")
    partial.replace(paths.facts)


def _inventory(paths: LabPaths, spec: LabSpec, variables: Mapping[str, Any]) -> dict[str, Any]:
    # ssh_config has ControlPersist and ControlPath too, but Ansible looks for them only among
    # the arguments, and without them `meta: reset_connection` would do nothing.
    arguments = (
        f"-F {paths.ssh_config} -o ControlMaster=auto -o ControlPersist=60s "
        f"-o ControlPath={ssh.control_path(paths)}"
    )
    return {
        "mcp_tunnel": {
            # The names are those of ssh_config, on this machine alone. Replicas use addresses.
            "hosts": {
                host.name: {"ansible_host": host.name, "mcp_tunnel_ssh_address": host.address.v4}
                for host in spec.hosts
            },
            "vars": {"ansible_user": ssh.USER, "ansible_ssh_args": arguments, **variables},
        }
    }


def read(paths: LabPaths) -> dict[str, Any]:
    """The contents of lab.json.

    Raises:
        LabError: the lab is not up; after an unexpected end, it names the place of the logs.
    """
    try:
        facts: dict[str, Any] = json.loads(paths.facts.read_text())
    except FileNotFoundError:
        crash = kept.last(paths)
        why = str(crash) if crash else f"lab {paths.name} is not up"
        raise LabError(f"{why}; `lab up {paths.name}` makes it") from None
    keeper = recorded(paths.keeper)
    if keeper is None or not alive(keeper):
        raise LabError(
            f"lab {paths.name} ended unexpectedly: its keeper was killed; its logs are in "
            f"{paths.logs}, until `lab down` or `lab up` puts them beside those of other crashes"
        )
    return facts


def gone(paths: LabPaths) -> str | None:
    """The reason why a lab that was up is gone, for people; None while it is there."""
    try:
        read(paths)
    except LabError as error:
        return str(error)
    return None
