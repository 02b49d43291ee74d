# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module of this collection on a host: the answer is checked before anything uses it."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.playbook.task import Task
from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check.facts import (
    MINIMUM_PYTHON,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers import answers, own_names
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import Rule

Fields = Mapping[str, Rule]


DEFAULT_SECONDS = 900
_LONGEST = 1000
"""Characters of the reason why a host could not be reached: ssh passes on what the host sends."""
_INTERPRETER = "ansible_python_interpreter"
#: For a shell; any Python understands it.
_ASK_VERSION = "-c 'import sys; print(\"Python %d.%d.%d\" % sys.version_info[:3])'"
_VERSION = re.compile(r"(?m)^Python (([0-9])\.([0-9]{1,3})\.[0-9]{1,3})\r?$")
# Of tasks that tidy up after the run itself. Only a task's own variables count: a host sets none.
_KEEPS_BOOKS = "__mcp_tunnel_keeps_books"


class _Expired(BaseException):
    """Not an Exception: no layer between here and the connection may take it for its own."""


class Unanswered(TunnelError):
    """A host has not answered in time."""


def _expire(*_signal: Any) -> None:
    raise _Expired


def _number(value: Any, default: int) -> int:
    """A whole number above zero, whatever its type was."""
    try:
        return max(int(value), 1)
    except (TypeError, ValueError):
        return default


def _is_provided_for(task: Task) -> bool:
    """Whether the task is in a block with a rescue or an always section."""
    parent = task._parent
    while parent:
        if getattr(parent, "rescue", None) or getattr(parent, "always", None):
            return True
        parent = parent._parent
    return False


def _lines(text: str) -> str:
    """Without pipelining, ssh gives a module a terminal, which ends lines with CR LF."""
    return text.replace("\r\n", "\n")


def names_in(value: Any) -> list[str]:
    """The elements of an option that is a list. Ansible also takes a text with commas for one."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",")]
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else []


def _unreached(host: str, error: AnsibleConnectionFailure) -> TunnelError:
    told = answers.clean(str(error), _LONGEST).strip().rstrip(".")
    return TunnelError(host, f"could not be reached: {told}", "Bring it back, and run again")


class CheckedModule(ActionBase):
    """Runs the module of the same name, and hands on only the values that the rules let pass.

    A host whose facts set variables of ours gets no question at all. Nor does another host on its
    behalf: the first one could have made the question.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False
    #: Host and module of the current question.
    _asked = ("", "")
    #: Seconds for an answer, in the place of ``mcp_tunnel_answer_timeout``; 0 for that.
    patience = 0

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """The keys of a successful answer to these arguments, each with its rule."""
        raise NotImplementedError

    def optional(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of the keys that may be missing."""
        return ()

    def keeps_books(self) -> bool:
        """Whether the task changes nothing of the tunnel: it also goes on outside the window."""
        return self._task.vars.get(_KEEPS_BOOKS) is True

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """Runs the module. A host that does not answer as it should fails, and is named.

        So does one that cannot be reached, where a block provides for failures: Ansible would take
        it out of the run, past the block's rescue and always sections. Then ``unreached`` tells
        whether that was the host itself, and not one that it was delegated to.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        closed = self._closed(task_vars)
        if closed:
            # So nothing is changed, and the answer says whether anything would be.
            self._task.check_mode = True
        try:
            result.update(self.ask(task_vars))
            if closed and result.get("changed"):
                result["outside_window"] = True
                raise self._outside(closed)
        except TunnelError as error:
            result.update(failed=True, changed=False, msg=str(error))
        except AnsibleConnectionFailure as error:
            if self._task.ignore_unreachable or not _is_provided_for(self._task):
                raise
            name = str((task_vars or {})["inventory_hostname"])
            host = self._asked[0] or name
            result.update(failed=True, changed=False, msg=str(_unreached(host, error)))
            result["unreached"] = host == name
        return result

    def _closed(self, task_vars: Mapping[str, Any] | None) -> str:
        """Why the run may change nothing; empty if it may, or does not anyway."""
        if self._task.check_mode or self.keeps_books():
            return ""
        plan = (task_vars or {}).get("mcp_tunnel_plan")
        return str(plan.get("closed", "")) if isinstance(plan, Mapping) else ""

    def _outside(self, closed: str) -> TunnelError:
        return TunnelError(
            self._asked[0] or "this host",
            f"would be changed, and {closed}",
            "Run again then, or for one run set mcp_tunnel_window to an empty text. Nothing was "
            "changed",
        )

    def ask(
        self,
        task_vars: dict[str, Any],
        module: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The checked answer of the task's host to a module, by default the task's own.

        :raises TunnelError: if the host is not to be trusted with the question, or the answer is
            not one.
        """
        host = self._check_hosts(task_vars)
        module = module or self._task.action
        given = self._task.args if arguments is None else arguments
        task_vars = self._with_own_interpreter(task_vars)
        fields, optional = self.fields(given), self.optional(given)
        self._asked = (host, module)
        with self._limited(host, module, given, task_vars):
            answer = self._execute_module(
                module_name=module, module_args=given, task_vars=task_vars
            )
            if answer.get("failed") and ("module_stderr" in answer or not answer.get("msg")):
                self._check_python(host)
        checked = answers.take(host, module, answer, fields, optional)
        # Ansible's own finding, made on the controller: without it, it would look again and again.
        found = (answer.get("ansible_facts") or {}).get(self._discovered_interpreter_key)
        if self._discovered_interpreter_key and found == self._discovered_interpreter:
            checked["ansible_facts"] = {self._discovered_interpreter_key: found}
        return checked

    def _check_python(self, host: str) -> None:
        """Looks whether a module has not even begun, as the host's Python does not know its syntax.

        :raises TunnelError: if so.
        """
        interpreter = (self._used_interpreter or "").lstrip("#!")
        said = self._low_level_execute_command(f"{interpreter} {_ASK_VERSION}")
        found = _VERSION.search(str(said.get("stdout", "")))
        if found and (int(found[2]), int(found[3])) < MINIMUM_PYTHON:
            least = ".".join(map(str, MINIMUM_PYTHON))
            raise TunnelError(
                host,
                f"its {interpreter} is Python {found[1]}, and {least} or later is needed",
                f"Install the package of a newer one, or name another one in {_INTERPRETER}. "
                "Nothing was changed",
            )

    def keep_out_of_files(self, what: str) -> None:
        """Has Ansible send the arguments over the connection, and in no temporary file.

        Without pipelining, it writes them into one on the controller, and one on the host.

        :param what: the secret in the arguments.
        :raises TunnelError: if this connection cannot do that.
        """
        with contextlib.suppress(AnsibleError, KeyError):
            self._connection.set_option("pipelining", True)
        # Of a connection plugin without such an option; it has a context of its own since 2.19.
        for context in (self._play_context, getattr(self._connection, "_play_context", None)):
            if context is not None:
                context.pipelining = True
        if not self._is_pipelining_enabled("new"):
            raise TunnelError(
                "ansible_pipelining",
                f"cannot be used here, so {what} would lie in temporary files on its way",
                "Use connection ssh or local, with become_method sudo, and without "
                "ANSIBLE_KEEP_REMOTE_FILES",
            )

    def _with_own_interpreter(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """The variables with the interpreter that the task itself names, if it names one.

        It is that of the proxy's release, which has the libraries that the module needs. A variable
        of the command line (-e) would outrank it; for all other tasks that one holds.
        """
        if _INTERPRETER not in self._task.vars:
            return task_vars
        own = {_INTERPRETER: self._templar.template(self._task.vars[_INTERPRETER])}
        delegated = task_vars.get("ansible_delegated_vars") or {}
        return {
            **task_vars,
            **own,
            "ansible_delegated_vars": {name: {**of, **own} for name, of in delegated.items()},
        }

    @contextlib.contextmanager
    def _limited(
        self, host: str, module: str, given: Mapping[str, Any], task_vars: Mapping[str, Any]
    ) -> Iterator[None]:
        """Gives up on a host that does not answer. A time limit of the task replaces this one."""
        if self._task.timeout:
            yield
            return
        settings = task_vars.get("__mcp_tunnel_settings")
        variables = settings.get("variables", {}) if isinstance(settings, Mapping) else {}
        seconds = _number(variables.get("mcp_tunnel_answer_timeout"), DEFAULT_SECONDS)
        # Of a module that itself waits.
        seconds = self.patience or seconds + _number(given.get("timeout"), 0)
        previous = signal.signal(signal.SIGALRM, _expire)
        signal.alarm(seconds)
        try:
            yield
        except _Expired:
            raise Unanswered(
                host,
                f"has not answered {module} within {seconds} seconds",
                "See what the host is busy with, or whether it is to be trusted. For more time, "
                "raise mcp_tunnel_answer_timeout",
            ) from None
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, previous)

    def _parse_returned_data(self, res: dict[str, Any], *arguments: Any, **more: Any) -> Any:
        """Before Ansible's own, which shows and does some of what an answer says as it stands."""
        limited = {
            key: answers.clean(_lines(value), answers.LARGEST) if isinstance(value, str) else value
            for key, value in res.items()
        }
        if isinstance(limited.get("stdout"), str):
            limited["stdout"] = answers.without_orders(*self._asked, limited["stdout"])
        return super()._parse_returned_data(limited, *arguments, **more)

    def _check_hosts(self, task_vars: Mapping[str, Any]) -> str:
        """Refuses hosts whose facts set variables of ours; returns the one that will answer."""
        name = str(task_vars["inventory_hostname"])
        own_names.check_facts(name, task_vars.get("ansible_facts"))
        delegate = self._task.delegate_to
        if not delegate:
            return name
        delegated = (task_vars.get("ansible_delegated_vars") or {}).get(delegate) or {}
        own_names.check_facts(str(delegate), delegated.get("ansible_facts"))
        return str(delegate)
