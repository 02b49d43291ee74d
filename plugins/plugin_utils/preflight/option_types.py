# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a value has the type that its option declares, in words for the operator.

Ansible's own messages are about its conversions; Ansible still decides which values it accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shape

_LONGEST = 100  # characters of a value that a message repeats
# For each type: its name in a message, and how to write a value of it.
_KINDS = {
    "bool": ("true or false", "Write true or false, without quotes"),
    "int": ("a whole number", "Write it in digits"),
    "str": ("a text", "Write it on the line of its name, in quotes if it looks like a number"),
    "path": ("a path", "Write it on the line of its name"),
    "list": ("a list", "Write one item a line below it, indented, each after `- `"),
    "dict": ("a map", "Write below it, indented, one `name: value` a line"),
}


def type_problem(subject: str, value: Any, option: Mapping[str, Any]) -> TunnelError | None:
    """The problem of *value* with the type or the choices of its option; ``None`` if it has none.

    :param option: an entry of an argument specification. With ``no_log`` the value is not shown.
    """
    if value is None:
        return TunnelError(subject, "is set to nothing (null)", "Leave it out for its default")
    spec = {key: option[key] for key in ("type", "elements", "choices") if key in option}
    if not ArgumentSpecValidator({"value": spec}).validate({"value": value}).error_messages:
        return None
    given = _given(value, bool(option.get("no_log")))
    if "choices" in option and isinstance(value, (str, int, float)):
        choices = ", ".join(map(str, option["choices"]))
        return TunnelError(subject, f"is {given}", f"Use one of {choices}")
    kind, remedy = _KINDS.get(option["type"], (option["type"], "Correct it"))
    if "elements" in option and isinstance(value, (list, tuple)):
        each = _KINDS.get(option["elements"], (option["elements"], ""))[0]
        return TunnelError(subject, f"has an item that is not {each}", "Correct that item")
    return TunnelError(subject, f"must be {kind}, is {given}", remedy)


def _given(value: Any, hidden: bool) -> str:
    is_short = isinstance(value, (str, int, float)) and len(str(value)) <= _LONGEST
    return repr(value) if is_short and not hidden else shape(value)
