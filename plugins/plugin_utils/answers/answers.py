# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges a host's answer: refuses an unexpected one, else returns the part that may be used.

A host may be compromised, and its Python with it. So of an answer, the controller takes the keys
that the module documents, each checked by a rule, and a few of Ansible's own as plain text.
Everything else is dropped; facts are refused, because no module of this collection has any.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import TEXT, Rule

#: Ansible's own, of the interpreter that it has found; it takes them from no module.
_DISCOVERED = ("discovered_interpreter_", "ansible_discovered_interpreter_")
_MESSAGE = 32 * 1024
_TRACE = 8 * 1024
_WARNINGS = 20
_DEEPEST = 12
LARGEST = 4 * 1024 * 1024
#: Keys that Ansible acts on in any answer, or would if another task had it.
_ORDERS = ("add_host", "add_group", "ansible_stats", "deprecations", "results")
_TRUTH_VALUES = ("changed", "failed")
_LINE = re.compile(r"(?m)^[^\S\n]*")
_LEFT_OUT = " ... (shortened)"
_REMEDY = (
    "Treat the host as compromised and take it out of the inventory until you know why. If "
    "somebody has changed its Python or Ansible's files there, undo that; if the collection on the "
    "controller was changed during the run, run again"
)


def clean(value: str, limit: int) -> str:
    """The text without characters that steer a terminal, and not longer than *limit*.

    C0 and C1 controls, and the marks that change the direction of text, are shown as escapes.
    """
    shortened = value[:limit] + (_LEFT_OUT if len(value) > limit else "")
    if shortened.isascii() and shortened.isprintable():
        return shortened
    return "".join(
        character
        if character in "\n\t" or character.isprintable() or character in "\u00a0\u3000"
        else character.encode("unicode_escape").decode()
        for character in shortened
    )


def without_orders(host: str, module: str, output: str) -> str:
    """The output of a module, without what Ansible itself would act on while it parses it.

    None of the keys that Ansible has for itself stays: depending on its version, it shows
    warnings, adds hosts, or masks what the host calls a secret in all further output. Warnings
    stay, as clean texts. Output that holds no JSON object stays as it is: Ansible refuses it.

    :raises TunnelError: naming the host, if a key has a type that newer versions would convert, or
        if it is nested more deeply than can be parsed and printed.
    """
    for line in _LINE.finditer(output):
        if not output.startswith("{", line.end()):
            continue
        try:
            answer, end = json.JSONDecoder().raw_decode(output, line.end())
            _check_types(host, module, answer)
            kept = {
                key: _cleaned(value) if key == "warnings" else value
                for key, value in answer.items()
                if not key.startswith("_ansible_") and key not in _ORDERS
            }
            return output[: line.end()] + json.dumps(kept) + output[end:]
        except RecursionError:
            # Ansible's own parser, with more room on the stack, might take it.
            raise _refused(host, module, "it is nested too deeply") from None
        except ValueError:
            # Ansible refuses it, too: it takes the first line that begins like an object.
            return output
    return output


def _cleaned(value: Any, depth: int = 0) -> Any:
    """Warnings with clean texts, in the form in which the host's Ansible has sent them."""
    if isinstance(value, str):
        return clean(value, _TRACE)
    if isinstance(value, dict) and depth < _DEEPEST:
        return {clean(key, 255): _cleaned(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list) and depth < _DEEPEST:
        return [_cleaned(item, depth + 1) for item in value[:_WARNINGS]]
    return value if value is None or isinstance(value, (bool, int, float)) else None


def take(
    host: str, module: str, answer: Any, fields: Mapping[str, Rule], optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The part of a host's *answer* to *module* that may be used.

    :param host: inventory name of the host that has answered.
    :param fields: the keys of a successful answer with their rules; those in *optional* may be
        missing. With a failure, each of them may be.
    :raises TunnelError: naming the host, if the answer is not one of this module.
    """
    if not isinstance(answer, Mapping):
        raise _refused(host, module, "it is no map")
    _check_size(host, module, answer)
    _check_types(host, module, answer)
    _check_no_facts(host, module, answer.get("ansible_facts"))
    result: dict[str, Any] = {key: answer[key] for key in _TRUTH_VALUES if key in answer}
    failed = result.get("failed", False)
    for key, rule in fields.items():
        if key in answer:
            if wrong := rule(answer[key]):
                raise _refused(host, module, f"in {key!r}: {wrong}")
            result[key] = _plain(answer[key])
        elif not failed and key not in optional:
            raise _refused(host, module, f"it has no {key!r}")
    return {**result, **_of_ansible(answer, failed)}


def _of_ansible(answer: Mapping[str, Any], failed: bool) -> dict[str, Any]:
    """The keys of an answer that Ansible itself shows, as plain text."""
    kept: dict[str, Any] = {}
    message = answer.get("msg")
    if isinstance(message, str) or failed:
        text = message if isinstance(message, str) else ""
        if failed and not text.strip():
            text = "The module gave no message."
        kept["msg"] = clean(text, _MESSAGE)
    if failed:
        for key in ("exception", "module_stdout", "module_stderr"):
            found = answer.get(key)
            text = found if isinstance(found, str) else _traceback(found)
            if text:
                kept[key] = clean(text, _TRACE)
    warnings = answer.get("warnings")
    if isinstance(warnings, list):
        texts = [item if isinstance(item, str) else _summary(item) for item in warnings]
        kept["warnings"] = [clean(text, _TRACE) for text in texts[:_WARNINGS] if text]
    if "diff" in answer and isinstance(answer["diff"], (Mapping, list)):
        kept["diff"] = _plain(answer["diff"])
    return kept


def _traceback(found: Any) -> str:
    """The text of what ansible-core 2.19 and later have instead of a text."""
    event = getattr(found, "event", None)
    text = getattr(event, "formatted_traceback", None)
    return text if isinstance(text, str) else ""


def _summary(found: Any) -> str:
    """The text of a warning, which is an object in ansible-core 2.19 and later."""
    text = getattr(getattr(found, "event", None), "msg", None)
    return text if isinstance(text, str) else ""


def _check_types(host: str, module: str, answer: Mapping[str, Any]) -> None:
    for key in _TRUTH_VALUES:
        if key in answer and not isinstance(answer[key], bool):
            raise _refused(host, module, f"in {key!r}: is no truth value")
    if not isinstance(answer.get("ansible_facts", {}), (Mapping, type(None))):
        raise _refused(host, module, "it has facts, which this module never has")


def _check_no_facts(host: str, module: str, facts: Mapping[str, Any] | None) -> None:
    """No module of ours has facts."""
    if facts is None:
        return
    found = [str(name) for name in facts if not str(name).startswith(_DISCOVERED)]
    if found:
        shown = clean(", ".join(sorted(found)[:5]), 200)
        raise _refused(host, module, f"it sets facts, which this module never does: {shown}")


def _check_size(host: str, module: str, answer: Any) -> None:
    """Refuses a value too large or too deep to be an answer, before anything else reads it."""
    size, waiting = 0, [(answer, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, Mapping):
            waiting += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, (list, tuple)):
            waiting += [(item, depth + 1) for item in value]
        size += 1
        if size + len(waiting) > LARGEST or depth > _DEEPEST:
            raise _refused(host, module, "it is too large or too deeply nested to be one")


def _plain(value: Any) -> Any:
    """The value with clean texts, and with types of JSON only."""
    if isinstance(value, str):
        return clean(value, TEXT)
    if isinstance(value, Mapping):
        return {clean(str(key), 255): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return clean(str(value), TEXT)


def _refused(host: str, module: str, problem: str) -> TunnelError:
    return TunnelError(
        host, f"its answer to {module} is not one, and was not used: {clean(problem, 512)}", _REMEDY
    )
