"""Run a module as Ansible does, and kill it where a power failure would."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import requests
from ansible.module_utils import basic
from ansible.module_utils.basic import AnsibleModule

try:
    from ansible.module_utils import _internal, testing
except ImportError:  # before ansible-core 2.19
    _internal = testing = None

COLLECTION_PLUGINS = "ansible_collections.mcp_tunnels.stack.plugins"
PACKAGE = f"{COLLECTION_PLUGINS}.modules"
KILLED = 99


@dataclass(frozen=True)
class Outcome:
    """A module's answer: ``everything`` is its output and its log, for searches."""

    result: dict[str, Any]
    everything: str

    @property
    def changed(self) -> bool:
        return self.result["changed"]

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed"))

    @property
    def message(self) -> str:
        return self.result["msg"]


def load_all() -> None:
    """Import every module, so that forks of this process need not."""
    for path in (Path(__file__).parents[4] / "plugins/modules").glob("*.py"):
        importlib.import_module(f"{PACKAGE}.{path.stem}")


def run_module(name: str, check: bool = False, **arguments: Any) -> Outcome:
    """Run a module in this process, with diff; return failures, too.

    On a host nothing of the controller is loaded. Here another test may have loaded it, and
    warnings would then go to the controller's display instead of the module's result.
    """
    module = importlib.import_module(f"{PACKAGE}.{name}")
    arguments |= {"_ansible_check_mode": check, "_ansible_diff": True}
    output, log = io.StringIO(), []
    with (
        given_options(arguments),
        as_on_a_host(),
        mock.patch.object(AnsibleModule, "log", lambda _self, msg, **_kwargs: log.append(str(msg))),
        contextlib.redirect_stdout(output),
        contextlib.suppress(SystemExit),
    ):
        module.main()
    return Outcome(json.loads(output.getvalue()), output.getvalue() + "\n".join(log))


def given_options(arguments: dict[str, Any]) -> contextlib.AbstractContextManager[Any]:
    """Let a module find its options in the way that this version of Ansible has."""
    if testing is not None:
        return testing.patch_module_args(arguments)
    given = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    return mock.patch.object(basic, "_ANSIBLE_ARGS", given)


def as_on_a_host() -> contextlib.AbstractContextManager[Any]:
    """Versions of Ansible with a switch for it check whether they run on the controller."""
    if _internal is None:
        return contextlib.nullcontext()
    return mock.patch.object(_internal, "is_controller", False)


def ensured(name: str, **arguments: Any) -> dict[str, Any]:
    """Run a module that must succeed, after its check mode has predicted the same change."""
    predicted = run_module(name, check=True, **arguments)
    assert not predicted.failed, predicted.message
    outcome = run_module(name, **arguments)
    assert not outcome.failed, outcome.message
    assert predicted.changed == outcome.changed, "check mode predicts something else"
    return outcome.result


def refused(name: str, check: bool = False, **arguments: Any) -> str:
    """Run a module that must fail; return its message."""
    outcome = run_module(name, check=check, **arguments)
    assert outcome.failed, f"{name} should have failed: {outcome.result}"
    assert "Traceback" not in outcome.everything
    return outcome.message


def without_library(library: str, name: str, **arguments: Any) -> dict[str, Any]:
    """Return a module's result on a host that lacks a library, found in a child process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for loaded in list(sys.modules):
                if loaded.split(".")[0] == library or loaded.startswith(COLLECTION_PLUGINS):
                    del sys.modules[loaded]
            sys.modules[library] = None  # type: ignore[assignment]
            os.write(writer, json.dumps(run_module(name, **arguments).result).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        output = stream.read()
    os.waitpid(child, 0)
    return json.loads(output)


# These calls change the file system: a process can be killed before and after each of them.
_STEPS = ("open", "fsync", "rename", "unlink", "mkdir", "symlink", "fchown", "fchmod", "rmdir")


def killed_after(step: int, action: Callable[[], Any]) -> bool:
    """Run the action in a child that is killed after *step* file operations and HTTP requests.

    Returns whether it was killed; if not, the action has come to its end.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with contextlib.ExitStack() as stack:
                _count_down(stack, step)
                action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _pid, wait_status = os.waitpid(child, 0)
    status = os.waitstatus_to_exitcode(wait_status)
    assert status in (0, KILLED), f"the child ended with {status}"
    return status == KILLED


def _count_down(stack: contextlib.ExitStack, step: int) -> None:
    left = [step]

    def patch(name: str) -> None:
        original = getattr(os, name)

        def counted(*arguments: Any, **keywords: Any) -> Any:
            result = original(*arguments, **keywords)
            if name == "open" and not arguments[1] & os.O_CREAT:
                return result
            left[0] -= 1
            if left[0] < 0:
                os._exit(KILLED)
            return result

        stack.enter_context(mock.patch.object(os, name, counted))

    def answered(*arguments: Any, **keywords: Any) -> Any:
        response = request(*arguments, **keywords)
        left[0] -= 1
        if left[0] < 0:
            os._exit(KILLED)  # the request has taken effect, and nobody has read the answer
        return response

    for name in _STEPS:
        patch(name)
    request = requests.Session.request
    stack.enter_context(mock.patch.object(requests.Session, "request", answered))


def kill_everywhere(
    prepare: Callable[[], Any], action: Callable[[], Any], check: Callable[[int], None]
) -> int:
    """For each file operation and HTTP request of the action: prepare, be killed there, check.

    Returns how many there are.
    """
    step = 0
    while True:
        prepare()
        if not killed_after(step, action):
            return step
        check(step)
        step += 1
