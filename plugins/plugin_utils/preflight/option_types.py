# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a value has the type that its option declares, in words for the operator.

Ansible's own messages are about its conversions; Ansible still decides which values it accepts.

Surveys, extra variables and inventories in INI format know texts alone: :func:`as_typed` reads
numbers, truth values, and maps and lists in YAML from them.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shape

_LONGEST = 100  # characters of a value that a message repeats
# For each type: its name in a message, and how to write a value of it.
_KINDS = {
    "bool": ("true or false", "Write true or false, without quotes"),
    "int": ("a whole number", "Write it in digits"),
    "str": ("a text", "Write it on the line of its name, in quotes if it looks like a number"),
    "path": ("a path", "Write it on the line of its name"),
    "list": ("a list", "Write it like [a, b], or one item a line below it, each after `- `"),
    "dict": ("a map", "Write below it, indented, one `name: value` a line"),
}
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_ALIAS, _TWICE = _OURS = ("has an alias (*)", "has a name twice")
_STRUCTURES: dict[str, type] = {"list": list, "dict": dict}
# The types that Ansible would make of something else: a list of a number or of a text with commas,
# a text of a map. Here a value, or an item of a list, has to be of that type.
_EXACT: dict[str, type | tuple[type, ...]] = {"list": (list, tuple), "dict": Mapping, "str": str}


def as_typed(value: Any, option: Mapping[str, Any]) -> Any:
    """The value of the option's type that a text stands for; any other value as it is.

    Such a text may be a truth value, a whole number in digits, or a map or list in YAML. The
    value is data: a template in it is not evaluated.
    """
    kind = option["type"]
    if kind == "bool":
        # Also a number. To us, the text "false" would be true.
        with contextlib.suppress(TypeError):
            return boolean(value)
    elif isinstance(value, datetime.date) and kind == "str":
        # ansible-core 2.19 and later read an answer of a survey as YAML.
        return value.isoformat()
    elif isinstance(value, str) and kind == "int" and _NUMBER.fullmatch(value):
        return int(value)
    elif isinstance(value, str) and kind in _STRUCTURES:
        with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
            loaded = _load(value)
            return loaded if isinstance(loaded, _STRUCTURES[kind]) else value
    return value


def text_problem(subject: str, value: Any, option: Mapping[str, Any]) -> TunnelError | None:
    """The problem of a text for a map or list that is not even YAML; ``None`` otherwise."""
    kind = option["type"]
    if kind not in _STRUCTURES or not isinstance(value, str):
        return None
    try:
        _load(value)
    except yaml.MarkedYAMLError as error:
        where = f", see its line {error.problem_mark.line + 1}" if error.problem_mark else ""
        said = error.problem if error.problem in _OURS else "is no YAML"
    except (yaml.YAMLError, ValueError, RecursionError):
        where, said = "", "is no YAML"
    else:
        return None
    name, remedy = _KINDS[kind]
    return TunnelError(subject, f"must be {name}, is {shape(value)} that {said}{where}", remedy)


class _Loader(yaml.SafeLoader):
    """Plain data: no repeated name in a map, and no alias, with which a text can grow endlessly."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, _ALIAS, mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        names = [str(name.value) for name, _value in node.value]
        if len(set(names)) < len(names):
            raise yaml.constructor.ConstructorError(None, None, _TWICE, node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _short_number(loader: _Loader, node: Any) -> int | float:
    """A number. With colons it is one to the base of 60, and a long one would take minutes."""
    if len(node.value) > _LONGEST:
        raise ValueError("a number that cannot be")
    made = loader.construct_yaml_int if node.tag == _INT else loader.construct_yaml_float
    number: int | float = made(node)
    return number


_INT, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float"))
_Loader.add_constructor(_INT, _short_number)
_Loader.add_constructor(_FLOAT, _short_number)


def load_documents(text: str) -> list[Any]:
    """The documents of a YAML text: plain data, without aliases and tags of other types.

    :raises yaml.YAMLError: if it is none, has an alias, or a map has a name twice.
    :raises ValueError: for a date or a number that cannot be.
    :raises RecursionError: if it is nested too deeply.
    """
    return list(yaml.load_all(text, Loader=_Loader))


def _load(text: str) -> Any:
    # As a plain text: subclasses with marks of Ansible's own are no business of a parser.
    return yaml.load(str.__str__(text), Loader=_Loader)  # noqa: S506 - a subclass of the safe one


def type_problem(subject: str, value: Any, option: Mapping[str, Any]) -> TunnelError | None:
    """The problem of *value* with the type or the choices of its option; ``None`` if it has none.

    :param option: an entry of an argument specification. With ``no_log`` the value is not shown.
    """
    if value is None:
        return TunnelError(subject, "is set to nothing (null)", "Leave it out for its default")
    if not _refused(value, option):
        return None
    given = _given(value, bool(option.get("no_log")))
    if "choices" in option and isinstance(value, (str, int, float)):
        choices = ", ".join(map(str, option["choices"]))
        return TunnelError(subject, f"is {given}", f"Use one of {choices}")
    kind, remedy = _KINDS.get(option["type"], (option["type"], "Correct it"))
    if "elements" in option and isinstance(value, (list, tuple)):
        return _item_problem(subject, value, option["elements"])
    return TunnelError(subject, f"must be {kind}, is {given}", remedy)


def _refused(value: Any, option: Mapping[str, Any]) -> bool:
    if option["type"] in _STRUCTURES and not isinstance(value, _EXACT[option["type"]]):
        return True
    if option["type"] == "list" and _misfits(value, option.get("elements", "")):
        return True
    spec = {key: option[key] for key in ("type", "elements", "choices") if key in option}
    return bool(ArgumentSpecValidator({"value": spec}).validate({"value": value}).error_messages)


def _misfits(items: Sequence[Any], elements: str) -> list[Any]:
    """The items that are of another type, where Ansible would convert them."""
    return [item for item in items if elements in _EXACT and not isinstance(item, _EXACT[elements])]


def _item_problem(subject: str, items: Sequence[Any], elements: str) -> TunnelError:
    each = _KINDS.get(elements, (elements, ""))[0]
    misfits = _misfits(items, elements)
    is_scalar = elements == "str" and misfits and not isinstance(misfits[0], (list, tuple, Mapping))
    remedy = "Put that item in quotes" if is_scalar else "Correct that item"
    return TunnelError(subject, f"has an item that is not {each}", remedy)


def _given(value: Any, hidden: bool) -> str:
    is_short = isinstance(value, (str, int, float)) and len(str(value)) <= _LONGEST
    return repr(value) if is_short and not hidden else shape(value)
