# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The public variables of the roles: their declared options, and their values with defaults."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.option_types import (
    as_typed,
    text_problem,
    type_problem,
)

ROLES = ("provision", "proxy", "cloudflared", "firewall")
_COLLECTION = Path(__file__).resolve().parents[3]
#: PyYAML's own in C where it was built with it: ten times as fast, in each task of each host.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.cache
def options() -> dict[str, dict[str, Any]]:
    """The options of all roles together, from their meta/argument_specs.yml."""
    merged: dict[str, dict[str, Any]] = {}
    for role in ROLES:
        specs = _load(role, "meta/argument_specs.yml")
        merged.update(specs["argument_specs"]["main"]["options"])
    return merged


@functools.cache
def defaults() -> dict[str, Any]:
    """The defaults of all roles and of site.yml. They are plain values, without templates."""
    merged: dict[str, Any] = {"mcp_tunnel_batch": 1, "mcp_tunnel_min_available": 1}
    for role in ROLES:
        merged.update(_load(role, "defaults/main.yml"))
    return merged


@functools.cache
def of_awx() -> frozenset[str]:
    """Names of the variables of the role awx, which no replica reads."""
    entries = _load("awx", "meta/argument_specs.yml")["argument_specs"].values()
    return frozenset(name for entry in entries for name in entry["options"])


def switches() -> list[str]:
    """Names of the variables that are truth values."""
    return [name for name, option in options().items() if option["type"] == "bool"]


def as_meant(values: Mapping[str, Any], is_job: bool = False) -> dict[str, Any]:
    """The values as an operator means them who can only give texts, as in a survey.

    An empty text is the same as a variable that is left out. Other texts stand for values of the
    declared type. One that does not stays as it is, for :func:`text_problems` and
    :func:`type_problems`.

    :param is_job: whether AWX or Tower has started the run. ansible-core 2.19 and later read an
        empty answer of a survey, which AWX marks as unsafe, as nothing (null). Without a survey,
        nothing is an oversight.
    """
    known, standard = options(), defaults()
    meant = {}
    for name, value in values.items():
        if value == "" or (value is None and is_job):
            meant[name] = standard.get(name, value)
        else:
            meant[name] = as_typed(value, known[name]) if name in known else value
    return meant


def text_problems(values: Mapping[str, Any]) -> list[TunnelError]:
    """The problems with texts for maps or lists that cannot be read."""
    found = (text_problem(name, values[name], option) for name, option in options().items())
    return [problem for problem in found if problem]


def type_problems(values: Mapping[str, Any]) -> list[TunnelError]:
    """The problems with the types and choices of the variables."""
    found = (type_problem(name, values[name], option) for name, option in options().items())
    return [problem for problem in found if problem]


def _load(role: str, path: str) -> dict[str, Any]:
    content = (_COLLECTION / "roles" / role / path).read_text(encoding="utf-8")
    return yaml.load(content, Loader=_LOADER) or {}  # noqa: S506 (either is safe)
